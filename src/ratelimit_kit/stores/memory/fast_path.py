"""The fast path to one table of a memory store, taken by most hits of a limiter.

It admits or denies one unit on a known key, and returns None in every other case: then the store decides. States
are immutable, so the decision is computed without the lock; only the write takes it, and writes nothing if the state
has been replaced meanwhile. Constants are bound once, and nothing is computed that only a reader of the
decision would need.
"""

from __future__ import annotations

from typing import Any, Final

from ratelimit_kit.core.decision import Decision, StateAllowed, StateDenied
from ratelimit_kit.core.token_bucket import TokenBucket
from ratelimit_kit.stores import FastPath
from ratelimit_kit.stores.memory.table import Table

ONE: Final = 1
"""The only cost a fast path handles; compared by identity, because `True` equals 1 and must be rejected."""


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
        except (KeyError, TypeError):  # TypeError: the key is not hashable
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
        except KeyError:  # the key was reset meanwhile
            return None
        allowed = StateAllowed()
        allowed.basis = limit, after, now, 0
        return allowed

    return decide


def _to_bucket(table: Table, limit: TokenBucket) -> FastPath:
    """Like `_to_any`, with TokenBucket.try_charge inlined: the call would take longer than its arithmetic."""
    rate, unit, capacity = limit.rate, limit.unit, limit.capacity

    def decide(key: Any, cost: Any) -> Decision | None:
        if cost is not ONE:
            return None
        now = table.clock() // 1000
        try:
            state = table.states[key]
        except (KeyError, TypeError):  # TypeError: the key is not hashable
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
        except KeyError:  # the key was reset meanwhile
            return None
        allowed = StateAllowed()
        allowed.basis = limit, after, now, 0
        return allowed

    return decide
