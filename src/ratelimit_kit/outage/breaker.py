"""The circuit breaker: an outage costs one deadline, and then no time until the store responds again.

After a failure the store is not called for a while; then one caller at a time tries it, and the first
reply ends the outage.
"""

from __future__ import annotations

import time
from threading import Lock

from ratelimit_kit.core.fork import with_lock
from ratelimit_kit.errors import StoreContendedError, StoreError, StoreUnavailableError

FIRST_PAUSE_SECONDS = 0.05
"""Seconds after a failure until the store is tried again; doubled with each try.

It is short because one late reply on a busy machine is not an outage.
"""

MAX_PAUSE_SECONDS = 0.5
"""The longest time after a failed try until the next one."""

MAX_INTERVAL_SECONDS = 1.0
"""The longest time between the beginnings of two tries, also if the first gets no reply: what a recovery waits."""


class CircuitBreaker:
    """Decides whether a store may be called; `error` is the failure that prevents it, None while all is well."""

    def __init__(self) -> None:
        self.error: StoreError | None = None
        self._lock = Lock()
        with_lock.add(self)
        self._pause = FIRST_PAUSE_SECONDS
        self._next = 0.0
        self._tried = self._since = self._recovered = float("-inf")

    def lets_through(self) -> bool:
        """Whether this caller should try the store during an outage."""
        now = time.monotonic()
        with self._lock:
            if self.error is None:
                return True
            if now < self._next:
                return False
            self._tried = now
            self._pause = min(MAX_PAUSE_SECONDS, self._pause * 2)
            self._next = now + MAX_INTERVAL_SECONDS
            return True

    def failed(self, error: StoreUnavailableError, begun: float) -> bool:
        """Record the failure of a call that began at `begun` (monotonic seconds); return whether it begins an outage.

        A call that began before the last recovery says nothing about the time after it, and of the calls that fail
        together only the one that was let through last has tried.
        """
        now = time.monotonic()
        with self._lock:
            if begun < self._recovered:
                return False
            begins = self.error is None
            if begins:
                self._since, self._pause = now, FIRST_PAUSE_SECONDS
                self._tried, self._next = now, now + self._pause
            elif begun >= self._tried:
                self._next = min(self._next, now + self._pause)
            self.error = error
            return begins

    def contended(self, error: StoreContendedError) -> None:
        """Record that a try during an outage found the store alive, but too busy: what decides meanwhile depends on it."""
        with self._lock:
            if self.error is not None:
                self.error = error
                self._next = min(self._next, time.monotonic() + self._pause)

    def succeeded(self) -> float | None:
        """Record a reply; if it ends an outage, return how many seconds that lasted."""
        now = time.monotonic()
        with self._lock:
            if self.error is None:
                return None
            self.error = None
            self._recovered = now
            return now - self._since
