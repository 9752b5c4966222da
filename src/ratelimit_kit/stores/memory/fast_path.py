"""The fast path to one table of a memory store, taken by most hits of a limiter.

It admits or denies one unit on a known key, and returns None in every other case: then the store decides. States
are immutable, so the decision is computed without the lock; only the write takes it, and writes nothing if the state
has been replaced meanwhile. Constants are bound once, and nothing is computed that only a reader of the
decision would need.
"""

from __future__ import annotations

from typing import Any, Final

from ratelimit_kit.core.decision import Decision, StateAllowed, StateDenied
from ratelimit_kit.core.limit import SKEW, Limit
from ratelimit_kit.core.token_bucket import TokenBucket
from ratelimit_kit.stores import FastPath
from ratelimit_kit.stores.memory.table import Table

ONE: Final = 1
"""The only cost a fast path handles; compared by identity, because `True` equals 1 and must be rejected."""


def fast_path_to(table: Table, limit: Limit) -> FastPath:
    """The fast path to a table for one of the limits that count there."""
    return _to_bucket(table, limit) if isinstance(limit, TokenBucket) else _to_any(table, limit)


def _to_any(table: Table, limit: Any) -> FastPath:
    try_charge, last_at = limit.try_charge, limit.last_at

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
            if state[last_at] - now > SKEW:
                return None
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


def _to_bucket(table: Table, limit: TokenBucket) -> FastPath:  # noqa: C901 - what it inlines
    """Like `_to_any`, with TokenBucket.try_charge inlined: the call would take longer than its arithmetic."""
    rate, unit, capacity = limit.rate, limit.unit, limit.capacity

    def decide(key: Any, cost: Any) -> Decision | None:  # noqa: C901 - likewise
        if cost is not ONE:
            return None
        now = table.clock() // 1000
        try:
            state = table.states[key]
        except (KeyError, TypeError):  # TypeError: the key is not hashable
            return None
        if now >= table.wake_at:
            return None
        spent, stamp, born, writer = state
        if writer != rate:
            return None
        if now > stamp:
            spent -= (now - stamp) * rate
            if spent <= 0:
                spent, born = 0, now
            stamp = now
        elif stamp - now > SKEW:
            return None
        spent += unit
        if spent > capacity:
            denied = StateDenied()
            denied.basis = limit, state, now, 1
            return denied
        after = spent, stamp, born, rate
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
