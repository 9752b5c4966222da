"""A policy: rules on one store, made of options or plain data, checked at start and reloaded."""

from ratelimit_kit.web.policy.policy import Policy

__all__ = ["Policy"]
