"""A policy: rules on one store, built from options or plain data, checked at start and reloadable."""

from ratelimit_kit.web.policy.policy import Policy

__all__ = ["Policy"]
