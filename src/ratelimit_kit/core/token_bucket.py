"""Token bucket in exact integers: credits accrue with every microsecond, nothing is rounded.

A token costs `limit.unit` credits and every microsecond adds `limit.rate` of them (the ratio is
reduced by its greatest common divisor), up to `limit.capacity`. A state is `(credits, stamp)`.
In any span t at most `burst + rate * t` tokens are admitted.

`decide.lua` holds the same steps for the Redis server; a differential test compares them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ratelimit_kit.core.decision import Look

if TYPE_CHECKING:
    from ratelimit_kit.core.limits import TokenBucket

State = tuple[int, int]


def _credits(limit: TokenBucket, state: State | None, now: int) -> int:
    """What the bucket holds at `now`; a clock that runs backwards adds nothing."""
    if state is None:
        return limit.capacity
    held, stamp = state
    return min(limit.capacity, held + max(0, now - stamp) * limit.rate)


def look(limit: TokenBucket, state: State | None, now: int, cost: int) -> Look:
    """See whether `cost` tokens are there at `now`; changes nothing."""
    held = _credits(limit, state, now)
    missing = (cost or 1) * limit.unit - held
    wait = -(-missing // limit.rate) if missing > 0 else 0
    reset = -(-(limit.capacity - held) // limit.rate)
    return Look(missing <= 0 or cost == 0, held // limit.unit, wait, reset)


def charge(limit: TokenBucket, state: State | None, now: int, cost: int) -> State:
    """Take `cost` tokens at `now`; the caller has looked first."""
    held = _credits(limit, state, now)
    return held - cost * limit.unit, now if state is None else max(now, state[1])


def take(limit: TokenBucket, state: State, now: int, cost: int) -> State | None:
    """Look and charge in one go: the state afterwards, or None when `cost` does not fit."""
    held, stamp = state
    if now > stamp:
        held += (now - stamp) * limit.rate
        if held > limit.capacity:  # noqa: PLR1730 - min() takes longer
            held = limit.capacity
        stamp = now
    held -= cost * limit.unit
    return None if held < 0 else (held, stamp)


def refund(limit: TokenBucket, state: State | None, now: int, cost: int, stamp: int | None) -> State | None:  # noqa: ARG001 - tokens have no age
    """Give `cost` tokens back, never beyond a full bucket."""
    if state is None:
        return None
    held = _credits(limit, state, now) + cost * limit.unit
    return None if held >= limit.capacity else (held, max(now, state[1]))
