"""One limit's counters in this process: a state per key, and when to look at each again.

Used by the memory store under its lock; states are values, so a reader needs none. A counter is looked at once its limit's longest memory
has passed since it was created; dead states are dropped, live ones wait for another turn. So
each state is looked at about once a window, whatever the traffic.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from threading import Lock
from typing import Any, Final, NamedTuple

from ratelimit_kit.core.decision import Look
from ratelimit_kit.core.limits import Limit

Key = str | None

OVERFLOW: Final = None
"""The key of the shared counter, which no text equals."""

FOREVER: Final = 2**62
"""A time that does not come."""

SMALL: Final = 1024
"""Keys below which a table is not worth making smaller."""


def _nobody() -> None:
    """No lane leads to this table."""


class _Slot(NamedTuple):
    """Keys that were created about the same time, to be looked at when `due`."""

    due: int
    keys: list[Key]


class Counters:
    """The states of one limit, by key; `clock` gives nanoseconds.

    From `wake` on (microseconds) somebody has to look at old counters; until then a hit need not.
    `lane` is a weak reference to the short way to this table, for as long as somebody uses it.
    """

    __slots__ = ("_peak", "_slots", "clock", "lane", "limit", "lock", "states", "wake")

    def __init__(self, limit: Limit, clock: Callable[[], int], lock: Lock) -> None:
        self.limit: Any = limit
        self.lane: Callable[[], Any] = _nobody
        self.clear(clock, lock)

    def clear(self, clock: Callable[[], int], lock: Lock) -> None:
        """Start from nothing, with that clock and that lock."""
        self.clock = clock
        self.lock = lock
        self.wake = 0
        self.states: dict[Key, Any] = {}
        self._slots: deque[_Slot] = deque()
        self._peak = SMALL

    def now(self) -> int:
        """The limit's time in microseconds."""
        return self.clock() // 1000

    def due(self) -> int:
        """When the oldest counter is to be looked at."""
        return self._slots[0].due if self._slots else FOREVER

    def look(self, key: Key, now: int, cost: int) -> Look:
        """See whether `cost` fits; changes nothing.

        Several charges that meet in the shared counter may together cost more than it ever admits.
        """
        if cost > self.limit.most:
            seen = self.limit.look(self._log(key), now, 0)
            return Look(False, seen.remaining, self.limit.longest, seen.reset)
        look: Look = self.limit.look(self._log(key), now, cost)
        return look

    def charge(self, key: Key, now: int, cost: int) -> Look:
        """Record `cost`, and see what is left."""
        state = self.limit.charge(self._log(key), now, cost)
        if key not in self.states:
            self._watch(key, now)
        self.states[key] = self.limit.fold(state)
        self._peak = max(self._peak, len(self.states))
        look: Look = self.limit.look(state, now, 0)
        return look

    def refund(self, key: Key, cost: int, stamp: int | None) -> None:
        """Give `cost` back to a key that has a state of its own."""
        if key not in self.states:
            return
        state = self.limit.fold(self.limit.refund(self._log(key), self.now(), cost, stamp))
        if state is None:
            del self.states[key]
        else:
            self.states[key] = state

    def is_idle(self) -> bool:
        """Whether nothing is counted here, nothing waits to be looked at, and nobody has a short way here."""
        return not self.states and not self._slots and self.lane() is None

    def take_over(self, other: Counters, prefix: str) -> None:
        """Move the counters of keys that begin with `prefix` here, without it; what is shared is shared on."""
        now = self.now()
        for key in [key for key in other.states if key is not OVERFLOW and key.startswith(prefix)]:
            self.states[key.removeprefix(prefix)] = other.states.pop(key)
            self._watch(key.removeprefix(prefix), now)
        self._peak = max(self._peak, len(self.states))
        if OVERFLOW in other.states:
            self.states[OVERFLOW] = other.states[OVERFLOW]
            self._watch(OVERFLOW, now)

    def sweep(self, budget: int) -> int:
        """Look at up to `budget` counters whose time has come; returns what is left of the budget."""
        now = self.now()
        if self.due() > now:
            return budget
        while budget and self._slots and self._slots[0].due <= now:
            keys = self._slots[0].keys
            while budget and keys:
                budget -= 1
                self._look_again(keys.pop(), now)
            if not keys:
                self._slots.popleft()
        self._shrink()
        return budget

    def _shrink(self) -> None:
        """Let go of a table that was made for many more keys: a dict never shrinks by itself."""
        if len(self.states) * 8 < self._peak:
            self.states = dict(self.states)
            self._peak = max(SMALL, len(self.states))

    def _log(self, key: Key) -> Any:
        """A key's state, unfolded; while the shared counter is alive, a new key inherits what that one has used.

        Some of it may have been this key's own.
        """
        state = self.states.get(key)
        return self.limit.unfold(self.states.get(OVERFLOW) if state is None else state)

    def _watch(self, key: Key, now: int) -> None:
        due = now + self.limit.longest
        if not self._slots or self._slots[-1].due < due:
            self._slots.append(_Slot(due + self.limit.longest // 8, []))
        self._slots[-1].keys.append(key)

    def _look_again(self, key: Key, now: int) -> None:
        state = self.states.get(key)
        if state is None:
            return
        if self.limit.look(self.limit.unfold(state), now, 0).reset > 0:
            self._watch(key, now)
        else:
            del self.states[key]
