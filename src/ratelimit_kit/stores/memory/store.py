"""Counters in memory: exact and fast, for one process only (the guard refuses more).

One lock makes every step atomic, with or without the GIL. There is no timer thread: each call
sweeps a few old states, so memory use follows the number of live keys. When `max_keys` are
alive, no state is evicted: further keys share one strict counter per limit until there is room again.
"""

from __future__ import annotations

import logging
import time
import weakref
from collections.abc import Callable, Sequence
from threading import Lock

from ratelimit_kit.core.decision import Decision, StatesAllowed, Verdict
from ratelimit_kit.core.events import Event
from ratelimit_kit.core.fork import each_in_forked_child
from ratelimit_kit.core.limit import Limit
from ratelimit_kit.core.validation import check_switch, known_options
from ratelimit_kit.errors import OptionError, StoreURLError
from ratelimit_kit.stores import BaseStore, Charge, FastPath, Scope, check_charges, check_refunds
from ratelimit_kit.stores.memory.fast_path import fast_path_to
from ratelimit_kit.stores.memory.tables import Clock, Clocks, Tables
from ratelimit_kit.stores.urls import redacted


class MemoryStore(BaseStore):
    """Counters in this process's memory.

    `max_keys` bounds the number of live counters; `clock` returns nanoseconds (default: the
    monotonic clock, and for calendar windows the wall clock). `fast_path=False` sends every hit through `decide`,
    with the same results.
    """

    scope = Scope.PROCESS

    @known_options
    def __init__(self, *, max_keys: int = 1_000_000, clock: Clock | None = None, fast_path: bool = True) -> None:
        if isinstance(max_keys, bool) or not isinstance(max_keys, int) or max_keys < 1:
            raise OptionError(f"max_keys must be a whole number of 1 or more, got {max_keys!r}")
        self.max_keys = max_keys
        self._fast = check_switch("fast_path", fast_path)
        self._clock = clock
        self._tables = Tables(max_keys, _clocks(clock))
        self._forked = 0
        STORES.add(self)

    def __repr__(self) -> str:
        return f"MemoryStore(max_keys={self.max_keys})"

    def __len__(self) -> int:
        return self._tables.live

    @property
    def elapsed_clock(self) -> Clock:
        """The clock that tells how old a decision is: the one that counts."""
        return self._tables.clocks[0]

    def decide(self, charges: Sequence[Charge]) -> Sequence[Verdict]:
        """Admit all charges or write nothing; one Verdict per charge, in order."""
        check_charges(charges)
        if not charges:
            return []
        if self._forked:
            self._tell_of_fork()
        with self._tables.lock:
            was_full = self._tables.full
            verdicts = self._tables.decide(charges)
            overflows = self._tables.full and not was_full
        if overflows:
            self.on_event(_overflow(self.max_keys))
        return verdicts

    def fast_decide(self) -> Callable[[Sequence[Charge]], Decision | None] | None:
        """A function that decides like `decide` if all counters exist and admit, else returns None."""
        return self._decide_known if self._fast else None

    def fast_path(self, namespace: str, limit: Limit) -> FastPath | None:
        """A function that decides single hits on keys of one namespace under one limit; see fast_path.py."""
        if not self._fast:
            return None
        with self._tables.lock:
            table = self._tables.own(namespace, limit)
            path: FastPath | None = table.fast_paths.get(limit.id)
            if path is None:
                path = table.fast_paths[limit.id] = fast_path_to(table, limit)
        return path

    def refund(self, charges: Sequence[Charge], charged_at: int | None = None) -> None:
        """Refund the costs of the hits made at `charged_at` (microseconds), or of the oldest if it is None."""
        check_refunds(charges)
        with self._tables.lock:
            for charge in charges:
                self._tables.refund(charge, charged_at)

    def reset(self, charges: Sequence[Charge]) -> None:
        """Forget everything about the charges' keys and limits."""
        with self._tables.lock:
            for charge in charges:
                self._tables.reset(charge)

    def clear(self) -> None:
        """Forget everything."""
        with self._tables.lock:
            self._tables.clocks = _clocks(self._clock)
            self._tables.clear()

    def _decide_known(self, charges: Sequence[Charge]) -> Decision | None:
        if self._forked:
            return None
        for _, limit, cost in charges:
            if type(cost) is not int or not 0 < cost <= limit.max_cost:
                return None
        if len(charges) > 1 and (len(charges) > 2 or charges[0][0] == charges[1][0]):
            check_charges(charges)
        with self._tables.lock:
            bases = self._tables.try_charge(charges)
        if not bases:
            return None
        allowed = StatesAllowed()
        allowed.basis = bases
        return allowed

    def _forget_parent(self) -> None:
        """Start empty in a forked child: the parent keeps counting, and its lock may stay held here forever."""
        self._forked = self._tables.live
        self._tables.lock = Lock()
        self._tables.clear()

    def _tell_of_fork(self) -> None:
        """Report the fork with the first decision: in the fork itself, a lock of the listener may be held forever."""
        lost, self._forked = self._forked, 0
        message = (
            f"MemoryStore starts empty in a forked process: the {lost} counters from before the fork stay with its parent, so "
            "each client has a full quota again. Fork before the first request, or use a shared store"
        )
        self.on_event(Event("memory-forked", message, logging.WARNING, {"counters": lost}))


def _clocks(clock: Clock | None) -> Clocks:
    """The clock for durations and the one for calendar windows."""
    chosen = clock or _test_clock
    return chosen or time.monotonic_ns, chosen or time.time_ns


def keep_time_by(clock: Clock | None) -> None:
    """Restart every memory store without a clock of its own on this one (None: the real clocks), for tests."""
    global _test_clock  # noqa: PLW0603 - stores created later use it too
    _test_clock = clock
    for store in list(STORES):
        store.clear()


_test_clock: Clock | None = None


def from_url(url: str) -> MemoryStore:
    """The store that `memory://` names."""
    if url != "memory://":
        raise StoreURLError(f"store={redacted(url)!r}: the memory store takes no address or options: write 'memory://'")
    return MemoryStore()


def _overflow(max_keys: int) -> Event:
    return Event(
        "memory-overflow",
        f"MemoryStore holds {max_keys} live counters (max_keys): further keys share one strict counter per limit "
        "until some expire. Raise max_keys, or use a shared store.",
        logging.WARNING,
        {"max_keys": max_keys},
    )


STORES: weakref.WeakSet[MemoryStore] = each_in_forked_child(MemoryStore._forget_parent)  # noqa: SLF001 - its own module
"""The memory stores of this process."""
