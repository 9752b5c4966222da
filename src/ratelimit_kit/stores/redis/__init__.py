"""Counters in Redis, shared by all processes that use the server: `redis://` and its variants."""

from ratelimit_kit.stores.redis.store import RedisStore

__all__ = ["RedisStore"]
