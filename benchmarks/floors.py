"""Floors: the least that each job can cost, written by hand with nothing around it."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Lock


def bucket(rate: float, capacity: float) -> Callable[[str], bool]:
    """A token bucket in this process: a closure, a lock, a dictionary, floats, and a bare yes or no."""
    states: dict[str, tuple[float, float]] = {}
    lock = Lock()

    def hit(key: str) -> bool:
        now = time.monotonic()
        with lock:
            tokens, stamp = states.get(key, (capacity, now))
            tokens = min(capacity, tokens + (now - stamp) * rate)
            if tokens < 1:
                states[key] = tokens, now
                return False
            states[key] = tokens - 1, now
            return True

    return hit
