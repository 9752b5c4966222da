"""A clock that moves only when told to."""

from __future__ import annotations


class ManualClock:
    """A clock for `MemoryStore(clock=...)` and `RedisStore(clock=...)` that stands still until it is moved.

    Calling it returns nanoseconds, like `time.monotonic_ns`; `now` is its time in seconds.
    """

    def __init__(self, start: float = 0.0) -> None:
        self._microseconds = round(start * 1_000_000)

    def __call__(self) -> int:
        """The time in nanoseconds."""
        return self._microseconds * 1000

    @property
    def now(self) -> float:
        """The time in seconds."""
        return self._microseconds / 1_000_000

    def advance(self, seconds: float) -> None:
        """Move by `seconds`, exact to the microsecond; a negative number runs the clock backwards."""
        self._microseconds += round(seconds * 1_000_000)
