"""Denial and Reply under their public import path, for annotating a policy's `denial` callable."""

from ratelimit_kit.web.response.denial import Denial, Reply

__all__ = ["Denial", "Reply"]
