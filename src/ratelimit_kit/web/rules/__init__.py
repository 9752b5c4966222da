"""Rules: which requests are limited, and what each is charged."""

from ratelimit_kit.web.rules.rule import Rule

__all__ = ["Rule"]
