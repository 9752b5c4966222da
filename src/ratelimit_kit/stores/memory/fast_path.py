"""The fast path to one table of a memory store: what most hits of a limiter take.

It admits or refuses one unit on a key that is known, and answers None in every other case: then
the store decides. States are values, so what to answer is found without the lock; only writing takes
it, and writes nothing when the state is another one by then. Constants are bound once, nothing is
computed that only a reader of the decision would want.
"""

from __future__ import annotations

from typing import Any, Final

from ratelimit_kit.core.decision import Decision, StateAllowed, StateDenied
from ratelimit_kit.core.token_bucket import TokenBucket
from ratelimit_kit.stores import FastPath
from ratelimit_kit.stores.memory.table import Table

ONE: Final = 1
"""The cost that a fast path knows; asked for by identity, for `True` equals it and must be refused."""


def fast_path_to(table: Table) -> FastPath:
    """The fast path that suits the table's limit."""
    return _to_bucket(table, table.limit) if isinstance(table.limit, TokenBucket) else _to_any(table, table.limit)


def _to_any(table: Table, limit: Any) -> FastPath:
    try_charge = limit.try_charge

    def decide(key: Any, cost: Any) -> Decision | None:
        if cost is not ONE:
            return None
        now = table.clock() // 1000
        try:
            state = table.states[key]
        except (KeyError, TypeError):  # the second for a key that is not a text
            return None
        if now >= table.wake_at:
            return None
        after = try_charge(state, now, 1)
        if after is None:
            denied = StateDenied()
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
        allowed = StateAllowed()
        allowed.basis = limit, after, now, 0
        return allowed

    return decide


def _to_bucket(table: Table, limit: TokenBucket) -> FastPath:
    """The same, with TokenBucket.try_charge written out: a call takes longer than its arithmetic."""
    rate, unit, capacity = limit.rate, limit.unit, limit.capacity

    def decide(key: Any, cost: Any) -> Decision | None:
        if cost is not ONE:
            return None
        now = table.clock() // 1000
        try:
            state = table.states[key]
        except (KeyError, TypeError):  # the second for a key that is not a text
            return None
        if now >= table.wake_at:
            return None
        held, stamp = state
        if now > stamp:
            held += (now - stamp) * rate
            if held > capacity:  # noqa: PLR1730 - min() takes longer
                held = capacity
            stamp = now
        held -= unit
        if held < 0:
            denied = StateDenied()
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
        allowed = StateAllowed()
        allowed.basis = limit, after, now, 0
        return allowed

    return decide
