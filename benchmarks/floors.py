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


SCRIPT = """
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local rate, capacity = tonumber(ARGV[1]), tonumber(ARGV[2])
local state = redis.call('HMGET', KEYS[1], 'tokens', 'stamp')
local tokens = tonumber(state[1]) or capacity
tokens = math.min(capacity, tokens + (now - (tonumber(state[2]) or now)) * rate)
local allowed = tokens >= 1
if allowed then tokens = tokens - 1 end
redis.call('HSET', KEYS[1], 'tokens', tokens, 'stamp', now)
redis.call('PEXPIRE', KEYS[1], math.ceil(capacity / rate * 1000))
return allowed and 1 or 0
"""
"""A token bucket in Redis: the clock of the server, a hash, floats, an expiry, and a bare yes or no."""
