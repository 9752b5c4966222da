"""State in this process: exact and fast, for one process only (the guard refuses more).

One lock makes every step atomic, with or without the GIL. There is no timer thread: each call
sweeps a few states whose time has come, so memory follows the live keys. When `max_keys` are
alive, no state is evicted: further keys share one strict counter per limit until room returns.
"""

from __future__ import annotations

import logging
import os
import time
import weakref
from collections import Counter, deque
from collections.abc import Callable, Sequence
from threading import Lock
from typing import NamedTuple

from ratelimit_kit.core.decision import Look, Verdict
from ratelimit_kit.core.event import Event, Listener, unheard
from ratelimit_kit.core.limits import FixedWindow, Limit
from ratelimit_kit.core.options import known_options
from ratelimit_kit.errors import OptionError, StoreURLError
from ratelimit_kit.stores import Charge, Scope, check_charges
from ratelimit_kit.stores.counters import OVERFLOW, Counters, Key

Clock = Callable[[], int]
"""Nanoseconds, like `time.monotonic_ns`."""

SWEEP = 64
"""Counters looked at in one call at most, so that no call pays for a million expired keys."""


class _Place(NamedTuple):
    """Where, when and how much to count."""

    table: Counters
    key: Key
    now: int
    cost: int


class MemoryStore:
    """Counters in this process's memory.

    `max_keys` bounds the number of live counters; `clock` returns nanoseconds (default: the
    monotonic clock, and for calendar windows the wall clock).
    """

    scope = Scope.PROCESS

    @known_options
    def __init__(self, *, max_keys: int = 1_000_000, clock: Clock | None = None) -> None:
        if isinstance(max_keys, bool) or not isinstance(max_keys, int) or max_keys < 1:
            raise OptionError(f"max_keys={max_keys!r} is no number of counters: give a whole number of 1 or more")
        self.max_keys = max_keys
        self.on_event: Listener = unheard
        self._clock = clock
        self._forked = 0
        self._forget()
        STORES.add(self)

    def __repr__(self) -> str:
        return f"MemoryStore(max_keys={self.max_keys})"

    def __len__(self) -> int:
        return self._live

    def decide(self, charges: Sequence[Charge]) -> Sequence[Verdict]:
        """Admit all charges or write nothing; one Verdict per charge, in order."""
        check_charges(charges)
        if not charges:
            return []
        if self._forked:
            self._tell_of_fork()
        with self._lock:
            was_full = self._full
            tables = [self._table(charge.limit) for charge in charges]
            self._sweep(tables)
            places = [self._place(table, charge) for table, charge in zip(tables, charges, strict=True)]
            looked = _added_up(places) if self._full else places
            looks = [table.look(key, now, cost) for table, key, now, cost in looked]
            if all([look.fits for look in looks]):  # noqa: C419 - a list is quicker for the few there are
                looks = [self._charge(place) if place.cost else look for place, look in zip(places, looks, strict=True)]
        if self._full and not was_full:
            self.on_event(_overflow(self.max_keys))
        return [
            Verdict(look.fits, charge.limit, look.remaining, look.wait, look.reset, place.now)
            for charge, look, place in zip(charges, looks, places, strict=True)
        ]

    async def adecide(self, charges: Sequence[Charge]) -> Sequence[Verdict]:
        """Do what `decide` does; it waits for nothing but the lock."""
        return self.decide(charges)

    def refund(self, charges: Sequence[Charge], stamp: int | None = None) -> None:
        """Give costs back: of the hits made at `stamp` (microseconds), else of the oldest."""
        check_charges(charges)
        with self._lock:
            for charge in charges:
                table = self._table(charge.limit)
                before = len(table.states)
                table.refund(charge.key, charge.cost, stamp)
                self._live += len(table.states) - before

    async def arefund(self, charges: Sequence[Charge], stamp: int | None = None) -> None:
        """Do what `refund` does."""
        self.refund(charges, stamp)

    def reset(self, charges: Sequence[Charge]) -> None:
        """Forget everything about the charges' keys and limits."""
        with self._lock:
            for charge in charges:
                if self._table(charge.limit).states.pop(charge.key, None) is not None:
                    self._live -= 1

    async def areset(self, charges: Sequence[Charge]) -> None:
        """Do what `reset` does."""
        self.reset(charges)

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._clear()

    def ping(self) -> None:
        """Return at once: this process's memory always answers."""

    async def aping(self) -> None:
        """Return at once."""

    def close(self) -> None:
        """Keep everything: there is nothing to let go of."""

    async def aclose(self) -> None:
        """Keep everything."""

    def _forget(self) -> None:
        """Start from nothing, with a lock that nobody holds."""
        self._lock = Lock()
        self._clear()

    def _forget_parent(self) -> None:
        """In a forked child: the parent goes on counting, and its lock may be held for ever here."""
        self._forked = self._live
        self._forget()

    def _tell_of_fork(self) -> None:
        """Not in the fork itself, where a lock of the listener's may be held for ever."""
        lost, self._forked = self._forked, 0
        message = (
            f"MemoryStore begins anew in a forked process: the {lost} counters before the fork stay with its parent, so each "
            "client has its quota once more. Fork before the first request, or use a shared store"
        )
        self.on_event(Event("memory-forked", message, logging.WARNING, {"counters": lost}))

    def _clear(self) -> None:
        self._steady = self._clock or _test_clock or time.monotonic_ns
        self._calendar = self._clock or _test_clock or time.time_ns
        self._tables: dict[str, Counters] = {}
        self._turns: deque[Counters] = deque()
        self._live = 0
        self._full = False

    def _table(self, limit: Limit) -> Counters:
        table = self._tables.get(limit.id)
        if table is None:
            clock = self._calendar if isinstance(limit, FixedWindow) else self._steady
            table = self._tables[limit.id] = Counters(limit, lambda: clock() // 1000)
            self._turns.append(table)
        return table

    def _place(self, table: Counters, charge: Charge) -> _Place:
        """Where there is no room for a new key it counts under the shared one."""
        if charge.key in table.states or self._live < self.max_keys:
            return _Place(table, charge.key, table.now(), charge.cost)
        self._full = True
        return _Place(table, OVERFLOW, table.now(), charge.cost)

    def _charge(self, place: _Place) -> Look:
        self._live += place.key not in place.table.states
        return place.table.charge(place.key, place.now, place.cost)

    def _sweep(self, tables: Sequence[Counters]) -> None:
        """Look at a few old counters of the limits in use, and of one more, whose turn it is.

        A limit that counts nothing any more is forgotten when its turn comes.
        """
        budget = SWEEP
        turn = self._turns[0]
        for table in (*tables, turn):
            before = len(table.states)
            budget = table.sweep(budget)
            self._live += len(table.states) - before
        if turn.is_idle() and turn not in tables:
            self._turns.popleft()
            del self._tables[turn.limit.id]
        else:
            self._turns.rotate(-1)
        if self._full and self._live < self.max_keys:
            self._full = False


def keep_time_by(clock: Clock | None) -> None:
    """Let every memory store without a clock of its own begin anew by this one (None: by the real clocks); for tests."""
    global _test_clock  # noqa: PLW0603 - stores that are made later keep this time too
    _test_clock = clock
    for store in list(STORES):
        store.clear()


_test_clock: Clock | None = None


def _added_up(places: Sequence[_Place]) -> list[_Place]:
    """What to look for where several charges may meet in a shared counter: their costs together."""
    total: Counter[tuple[str, Key]] = Counter()
    for place in places:
        total[place.table.limit.id, place.key] += place.cost
    return [place._replace(cost=total[place.table.limit.id, place.key]) for place in places]


def from_url(url: str) -> MemoryStore:
    """The store that `memory://` names."""
    if url != "memory://":
        raise StoreURLError(f"store={url!r}: the memory store takes no address or options, write 'memory://'")
    return MemoryStore()


def _overflow(max_keys: int) -> Event:
    return Event(
        "memory-overflow",
        f"MemoryStore holds {max_keys} live counters (max_keys): further keys share one strict counter per limit "
        "until some expire. Raise max_keys, or use a shared store.",
        logging.WARNING,
        {"max_keys": max_keys},
    )


STORES: weakref.WeakSet[MemoryStore] = weakref.WeakSet()
"""The memory stores of this process."""


def _forget_after_fork() -> None:
    for store in list(STORES):
        store._forget_parent()  # noqa: SLF001 - its own module


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_after_fork)
