"""One function a scenario; importing this package enters them all, in the order of the report."""

from benchmarks.scenarios import memory, redis_sync

__all__ = ["memory", "redis_sync"]
