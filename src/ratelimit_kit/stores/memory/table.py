"""The counters of limits that differ only in their number: a state per key, and when to check whether it still matters.

The memory store uses it under its lock; states are immutable, so readers need no lock. A counter is checked once its
limit's `max_lifetime` has passed since it was created; dead states are dropped, live ones are checked again later. So
each state is checked about once per window, whatever the traffic.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from threading import Lock
from typing import Any, Final, NamedTuple
from weakref import WeakValueDictionary

from ratelimit_kit.core.limit import FOREVER, Limit, Peek

Key = str | None

OVERFLOW: Final = None
"""The key of the shared counter; no text equals it."""

MIN_PEAK: Final = 1024
"""Number of keys below which a table is not worth shrinking."""


class _Slot(NamedTuple):
    """Keys that were created at about the same time, to be checked at `due` (microseconds)."""

    due: int
    keys: list[Key]


class Table:
    """The states of the limits that share a counter, by key; `clock` returns nanoseconds.

    `limit` is the one with the longest `max_lifetime`. Until `wake_at` (microseconds) no hit needs to check old counters. `fast_paths` are those to this table by the limit's `id`, alive while something uses them.
    """

    __slots__ = ("_peak", "_slots", "clock", "fast_paths", "limit", "lock", "states", "wake_at")

    def __init__(self, limit: Limit, clock: Callable[[], int], lock: Lock) -> None:
        self.limit = limit
        self.fast_paths: WeakValueDictionary[str, Any] = WeakValueDictionary()
        self.clear(clock, lock)

    def clear(self, clock: Callable[[], int], lock: Lock) -> None:
        """Start empty, with this clock and this lock."""
        self.clock = clock
        self.lock = lock
        self.wake_at = 0
        self.states: dict[Key, Any] = {}
        self._slots: deque[_Slot] = deque()
        self._peak = MIN_PEAK

    def now(self) -> int:
        """The time on the limit's clock, in microseconds."""
        return self.clock() // 1000

    def due(self) -> int:
        """When the oldest counter is to be checked, in microseconds."""
        return self._slots[0].due if self._slots else FOREVER

    def peek(self, limit: Limit, key: Key, now: int, cost: int) -> Peek:
        """Check whether `cost` fits; changes nothing but stamps that the clock was set back behind.

        Several charges on the shared counter may together cost more than it can ever admit.
        """
        state = self._state(limit, key, now)
        if cost > limit.max_cost > 0:
            seen = limit.peek(state, now, 0)
            return Peek(False, seen.remaining, limit.max_lifetime, seen.reset)
        return limit.peek(state, now, cost)

    def charge(self, limit: Limit, key: Key, now: int, cost: int) -> Peek:
        """Record a `cost` that fits, and return what is left."""
        state = limit.try_charge(self._state(limit, key, now), now, cost)
        if key not in self.states:
            self._schedule(key, now)
        self.states[key] = state
        self._peak = max(self._peak, len(self.states))
        return limit.peek(state, now, 0)

    def refund(self, limit: Limit, key: Key, cost: int, charged_at: int | None) -> None:
        """Refund `cost` to a key, if it has a state of its own."""
        if key not in self.states:
            return
        state = limit.refund(self.states[key], self.now(), cost, charged_at)
        if state is None:
            del self.states[key]
        else:
            self.states[key] = state

    def is_idle(self) -> bool:
        """Whether the table holds no counters, has none to check, and no fast path leads to it."""
        return not self.states and not self._slots and not self.fast_paths

    def take_over(self, other: Table, prefix: str) -> None:
        """Move the counters of keys that begin with `prefix` here, without it, and copy the shared counter."""
        now = self.now()
        for key in [key for key in other.states if key is not OVERFLOW and key.startswith(prefix)]:
            self.states[key.removeprefix(prefix)] = other.states.pop(key)
            self._schedule(key.removeprefix(prefix), now)
        self._peak = max(self._peak, len(self.states))
        if OVERFLOW in other.states:
            self.states[OVERFLOW] = other.states[OVERFLOW]
            self._schedule(OVERFLOW, now)

    def sweep(self, budget: int) -> int:
        """Check up to `budget` counters that are due; returns what is left of the budget."""
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
        """Replace a dict that was sized for many more keys: a dict does not shrink when keys are deleted."""
        if len(self.states) * 8 < self._peak:
            self.states = dict(self.states)
            self._peak = max(MIN_PEAK, len(self.states))

    def _state(self, limit: Limit, key: Key, now: int) -> Any:
        """A key's state; while the shared counter is alive, a new key inherits its usage.

        Some of that usage may have been this key's own.
        """
        if key not in self.states:
            key = OVERFLOW
        state = self.states.get(key)
        if state is None:
            return None
        rewound = limit.rewind(state, now)
        if rewound is not state:
            self.states[key] = rewound
        return rewound

    def _schedule(self, key: Key, now: int) -> None:
        """Schedule a check of a key for when its state may be dead."""
        due = now + self.limit.max_lifetime
        if not self._slots or self._slots[-1].due < due:
            self._slots.append(_Slot(due + self.limit.max_lifetime // 8, []))
        self._slots[-1].keys.append(key)

    def _check(self, key: Key, now: int) -> None:
        """Drop a state that no longer matters."""
        state = self.states.get(key)
        if state is None:
            return
        if self.limit.lifetime(state, now) > 0:
            self._schedule(key, now)
        else:
            del self.states[key]
