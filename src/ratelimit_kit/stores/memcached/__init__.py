"""Counters in Memcached, shared by all processes that use the servers: `memcached://`."""

from ratelimit_kit.stores.memcached.store import MemcachedStore

__all__ = ["MemcachedStore"]
