"""One function a scenario; importing this package enters them all, in the order of the report."""

from benchmarks.scenarios import memory, host, redis_sync, redis_async, memcached, web, start_up  # isort: skip - the order of the report

__all__ = ["host", "memcached", "memory", "redis_async", "redis_sync", "start_up", "web"]
