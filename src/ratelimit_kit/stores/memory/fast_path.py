"""The short way to one table of a memory store: what most hits of a limiter take.

A lane admits or refuses one unit on a key that is known, and answers None in every other case: then
the store decides. States are values, so what to answer is found without the lock; only writing takes
it, and writes nothing when the state is another one by then. Constants are bound once, nothing is
computed that only a reader of the decision would want.
"""

from __future__ import annotations

from typing import Any, Final

from ratelimit_kit.core.decision import Admitted, Decision, Denied
from ratelimit_kit.core.limits import TokenBucket
from ratelimit_kit.stores import Lane
from ratelimit_kit.stores.memory.table import Counters

ONE: Final = 1
"""The cost that a lane knows; asked for by identity, for `True` equals it and must be refused."""


def lane_to(table: Counters) -> Lane:
    """The lane that suits the table's limit."""
    return _bucket(table, table.limit) if isinstance(table.limit, TokenBucket) else _lane(table, table.limit)


def _lane(table: Counters, limit: Any) -> Lane:
    take = limit.take

    def lane(key: Any, cost: Any) -> Decision | None:
        if cost is not ONE:
            return None
        now = table.clock() // 1000
        try:
            state = table.states[key]
        except (KeyError, TypeError):  # the second for what is no text at all
            return None
        if now >= table.wake:
            return None
        after = take(state, now, 1)
        if after is None:
            denied = Denied()
            denied.basis = limit, state, now, 1
            return denied
        try:
            with table.lock:
                states = table.states
                if states[key] is not state:
                    return None
                states[key] = after
        except KeyError:  # it was reset meanwhile
            return None
        admitted = Admitted()
        admitted.basis = limit, after, now, 0
        return admitted

    return lane


def _bucket(table: Counters, limit: TokenBucket) -> Lane:
    """The same, with token_bucket.take written out: it is shorter than a call."""
    rate, unit, capacity = limit.rate, limit.unit, limit.capacity

    def lane(key: Any, cost: Any) -> Decision | None:
        if cost is not ONE:
            return None
        now = table.clock() // 1000
        try:
            state = table.states[key]
        except (KeyError, TypeError):  # the second for what is no text at all
            return None
        if now >= table.wake:
            return None
        held, stamp = state
        if now > stamp:
            held += (now - stamp) * rate
            if held > capacity:  # noqa: PLR1730 - min() takes longer
                held = capacity
            stamp = now
        held -= unit
        if held < 0:
            denied = Denied()
            denied.basis = limit, state, now, 1
            return denied
        after = held, stamp
        try:
            with table.lock:
                states = table.states
                if states[key] is not state:
                    return None
                states[key] = after
        except KeyError:  # it was reset meanwhile
            return None
        admitted = Admitted()
        admitted.basis = limit, after, now, 0
        return admitted

    return lane
