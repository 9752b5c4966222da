"""One limit's counters in this process: a state per key, and when to check whether each still matters.

Used by the memory store under its lock; states are values, so a reader needs none. A counter is checked once its
limit's `max_lifetime` has passed since it was created; dead states are dropped, live ones wait for another check. So
each state is checked about once a window, whatever the traffic.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from threading import Lock
from typing import Any, Final, NamedTuple

from ratelimit_kit.core.limit import Limit, Peek

Key = str | None

OVERFLOW: Final = None
"""The key of the shared counter, which no text equals."""

FOREVER: Final = 2**62
"""A time that does not come."""

MIN_PEAK: Final = 1024
"""Keys below which a table is not worth making smaller."""


def _unused() -> None:
    """No fast path leads to this table."""


class _Slot(NamedTuple):
    """Keys that were created about the same time, to be checked when `due`."""

    due: int
    keys: list[Key]


class Table:
    """The states of one limit, by key; `clock` gives nanoseconds.

    From `wake_at` on (microseconds) somebody has to check old counters; until then a hit need not.
    `fast_path` is a weak reference to the fast path to this table, for as long as somebody uses it.
    """

    __slots__ = ("_peak", "_slots", "clock", "fast_path", "limit", "lock", "states", "wake_at")

    def __init__(self, limit: Limit, clock: Callable[[], int], lock: Lock) -> None:
        self.limit = limit
        self.fast_path: Callable[[], Any] = _unused
        self.clear(clock, lock)

    def clear(self, clock: Callable[[], int], lock: Lock) -> None:
        """Start from nothing, with that clock and that lock."""
        self.clock = clock
        self.lock = lock
        self.wake_at = 0
        self.states: dict[Key, Any] = {}
        self._slots: deque[_Slot] = deque()
        self._peak = MIN_PEAK

    def now(self) -> int:
        """The limit's time in microseconds."""
        return self.clock() // 1000

    def due(self) -> int:
        """When the oldest counter is to be checked."""
        return self._slots[0].due if self._slots else FOREVER

    def peek(self, key: Key, now: int, cost: int) -> Peek:
        """See whether `cost` fits; changes nothing.

        Several charges that meet in the shared counter may together cost more than it ever admits.
        """
        if cost > self.limit.max_cost:
            seen = self.limit.peek(self._state(key), now, 0)
            return Peek(False, seen.remaining, self.limit.max_lifetime, seen.reset)
        return self.limit.peek(self._state(key), now, cost)

    def charge(self, key: Key, now: int, cost: int) -> Peek:
        """Record a `cost` that fits, and see what is left."""
        state = self.limit.try_charge(self._state(key), now, cost)
        if key not in self.states:
            self._schedule(key, now)
        self.states[key] = state
        self._peak = max(self._peak, len(self.states))
        return self.limit.peek(state, now, 0)

    def refund(self, key: Key, cost: int, charged_at: int | None) -> None:
        """Give `cost` back to a key that has a state of its own."""
        if key not in self.states:
            return
        state = self.limit.refund(self._state(key), self.now(), cost, charged_at)
        if state is None:
            del self.states[key]
        else:
            self.states[key] = state

    def is_idle(self) -> bool:
        """Whether nothing is counted here, nothing waits to be checked, and nobody has a fast path here."""
        return not self.states and not self._slots and self.fast_path() is None

    def take_over(self, other: Table, prefix: str) -> None:
        """Move the counters of keys that begin with `prefix` here, without it; what is shared is shared on."""
        now = self.now()
        for key in [key for key in other.states if key is not OVERFLOW and key.startswith(prefix)]:
            self.states[key.removeprefix(prefix)] = other.states.pop(key)
            self._schedule(key.removeprefix(prefix), now)
        self._peak = max(self._peak, len(self.states))
        if OVERFLOW in other.states:
            self.states[OVERFLOW] = other.states[OVERFLOW]
            self._schedule(OVERFLOW, now)

    def sweep(self, budget: int) -> int:
        """Check up to `budget` counters whose time has come; returns what is left of the budget."""
        now = self.now()
        if self.due() > now:
            return budget
        while budget and self._slots and self._slots[0].due <= now:
            keys = self._slots[0].keys
            while budget and keys:
                budget -= 1
                self._check(keys.pop(), now)
            if not keys:
                self._slots.popleft()
        self._shrink()
        return budget

    def _shrink(self) -> None:
        """Let go of a table that was made for many more keys: a dict never shrinks by itself."""
        if len(self.states) * 8 < self._peak:
            self.states = dict(self.states)
            self._peak = max(MIN_PEAK, len(self.states))

    def _state(self, key: Key) -> Any:
        """A key's state; while the shared counter is alive, a new key inherits what that one has used.

        Some of it may have been this key's own.
        """
        state = self.states.get(key)
        return self.states.get(OVERFLOW) if state is None else state

    def _schedule(self, key: Key, now: int) -> None:
        """Have a key checked when its state can be dead."""
        due = now + self.limit.max_lifetime
        if not self._slots or self._slots[-1].due < due:
            self._slots.append(_Slot(due + self.limit.max_lifetime // 8, []))
        self._slots[-1].keys.append(key)

    def _check(self, key: Key, now: int) -> None:
        """Drop a state that does not matter any more."""
        state = self.states.get(key)
        if state is None:
            return
        if self.limit.peek(state, now, 0).reset > 0:
            self._schedule(key, now)
        else:
            del self.states[key]
