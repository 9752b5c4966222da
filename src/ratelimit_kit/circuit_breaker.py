"""The circuit breaker: an outage costs one deadline, and then no time until the store answers again.

After a failure nobody asks the store for a while; then one caller at a time does, and the first
answer ends the outage.
"""

from __future__ import annotations

import time
from threading import Lock

from ratelimit_kit.errors import StoreError, StoreUnavailableError

FIRST_PAUSE = 0.05
"""Seconds after a failure until the store is asked again; doubled with each further failure.

Short, for one call that came late on a busy machine is no outage, and must not open the gate for long.
"""

LONGEST_PAUSE = 2.0
"""Seconds between two questions at most: so long may a recovery go unnoticed."""


class CircuitBreaker:
    """Whether a store may be asked; `error` is the failure that keeps it from being asked, None while all is well."""

    def __init__(self) -> None:
        self.error: StoreError | None = None
        self._lock = Lock()
        self._pause = FIRST_PAUSE
        self._next = 0.0
        self._since = 0.0

    def lets_through(self) -> bool:
        """During an outage: whether this caller is the one to try."""
        now = time.monotonic()
        with self._lock:
            if self.error is not None and now < self._next:
                return False
            self._next = now + self._pause
            return True

    def failed(self, error: StoreUnavailableError) -> bool:
        """Take note of a failure; true when it begins an outage."""
        now = time.monotonic()
        with self._lock:
            begins = self.error is None
            if begins:
                self._since, self._pause = now, FIRST_PAUSE
            else:
                self._pause = min(LONGEST_PAUSE, self._pause * 2)
            self.error = error
            self._next = now + self._pause
            return begins

    def succeeded(self) -> float | None:
        """Take note of an answer; the seconds that the outage lasted, where this ends one."""
        with self._lock:
            if self.error is None:
                return None
            self.error = None
            return time.monotonic() - self._since
