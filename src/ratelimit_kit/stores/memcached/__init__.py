"""State in Memcached, shared by all who use the servers: `memcached://`."""

from ratelimit_kit.stores.memcached.store import MemcachedStore

__all__ = ["MemcachedStore"]
