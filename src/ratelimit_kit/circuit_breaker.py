"""The circuit breaker: an outage costs one deadline, and then no time until the store responds again.

After a failure the store is not called for a while; then one caller at a time tries it, and the first
reply ends the outage.
"""

from __future__ import annotations

import time
from threading import Lock

from ratelimit_kit.errors import StoreError, StoreUnavailableError

FIRST_PAUSE_SECONDS = 0.05
"""Seconds after a failure until the store is tried again; doubled after each further failure.

It is short because one late reply on a busy machine is not an outage, and limits must not fail open for long.
"""

MAX_PAUSE_SECONDS = 2.0
"""The longest time between two tries: a recovery may go unnoticed for this long."""


class CircuitBreaker:
    """Decides whether a store may be called; `error` is the failure that prevents it, None while all is well."""

    def __init__(self) -> None:
        self.error: StoreError | None = None
        self._lock = Lock()
        self._pause = FIRST_PAUSE_SECONDS
        self._next = 0.0
        self._since = 0.0

    def lets_through(self) -> bool:
        """Whether this caller should try the store during an outage."""
        now = time.monotonic()
        with self._lock:
            if self.error is not None and now < self._next:
                return False
            self._next = now + self._pause
            return True

    def failed(self, error: StoreUnavailableError) -> bool:
        """Record a failure; return whether it begins an outage."""
        now = time.monotonic()
        with self._lock:
            begins = self.error is None
            if begins:
                self._since, self._pause = now, FIRST_PAUSE_SECONDS
            else:
                self._pause = min(MAX_PAUSE_SECONDS, self._pause * 2)
            self.error = error
            self._next = now + self._pause
            return begins

    def succeeded(self) -> float | None:
        """Record a reply; if it ends an outage, return how many seconds that lasted."""
        with self._lock:
            if self.error is None:
                return None
            self.error = None
            return time.monotonic() - self._since
