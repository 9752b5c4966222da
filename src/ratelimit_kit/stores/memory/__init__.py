"""Counters in memory: exact and fast, for one process only."""

from ratelimit_kit.stores.memory.store import MemoryStore

__all__ = ["MemoryStore"]
