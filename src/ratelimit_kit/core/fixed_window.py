"""Fixed window: a counter for quotas that follow the calendar ("1000 per day, resets at midnight").

A state is `(end, count)`: the microsecond at which the current window ends, and the units charged
in it. A clock that runs backwards stays in the window it was in. At most the limit is admitted
per calendar window, hence up to twice the limit around its boundary: for "never more than N in
any minute" use the sliding window.

`decide.lua` holds the same steps for the Redis server; a differential test compares them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ratelimit_kit.core.decision import Look

if TYPE_CHECKING:
    from ratelimit_kit.core.limits import FixedWindow

State = tuple[int, int]


def look(limit: FixedWindow, state: State | None, now: int, cost: int) -> Look:
    """See whether `cost` fits the current window at `now`; changes nothing."""
    if state is None or now >= state[0]:
        return Look(True, limit.limit, 0, 0)
    end, count = state
    remaining = limit.limit - count
    left = end - now
    fits_one = (cost or 1) <= remaining
    return Look(fits_one or cost == 0, remaining, 0 if fits_one else left, left)


def charge(limit: FixedWindow, state: State | None, now: int, cost: int) -> State:
    """Count `cost` in the window that holds `now`; the caller has looked first."""
    if state is None or now >= state[0]:
        return limit.window_end(now), cost
    return state[0], state[1] + cost


def take(limit: FixedWindow, state: State, now: int, cost: int) -> State | None:
    """Look and charge in one go: the state afterwards, or None when `cost` does not fit."""
    end, count = state
    if now >= end:
        return limit.window_end(now), cost
    count += cost
    return None if count > limit.limit else (end, count)


def refund(limit: FixedWindow, state: State | None, now: int, cost: int, stamp: int | None) -> State | None:
    """Give `cost` back to the current window, unless the hit made at `stamp` was in an earlier one."""
    if state is None or now >= state[0]:
        return None
    if stamp is not None and limit.window_end(stamp) < state[0]:
        return state
    left = state[1] - cost
    return (state[0], left) if left > 0 else None
