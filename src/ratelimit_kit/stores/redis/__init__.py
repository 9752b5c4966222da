"""State in Redis, shared by all who use the server: `redis://` and its relatives."""

from ratelimit_kit.stores.redis.store import RedisStore

__all__ = ["RedisStore"]
