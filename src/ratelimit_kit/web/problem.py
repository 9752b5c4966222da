"""The public path of Denial and Reply, for annotations of a policy's `denial` callable."""

from ratelimit_kit.web.response.denial import Denial, Reply

__all__ = ["Denial", "Reply"]
