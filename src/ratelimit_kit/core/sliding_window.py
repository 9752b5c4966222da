"""Sliding window: a log of hits, so that no window of its length ever holds more than the limit.

A log is a flat list `[base, stamp, cumulative, stamp, cumulative, ...]`: each pair says when a
group of hits was made and how many units were charged up to and including it; `base` is the
count before the first pair. A pair leaves the window one window length after its stamp.

While fewer than `resolution` pairs are alive, every hit has its own stamp and the log is exact.
Beyond that, hits in the same granule (window / resolution) share the later stamp: a group leaves
late by less than a granule, never early, and the log never holds more than about twice
`resolution` pairs.

`decide.lua` holds the same steps for the Redis server; a differential test compares them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ratelimit_kit.core.decision import Look

if TYPE_CHECKING:
    from ratelimit_kit.core.limits import SlidingWindow

Folded = tuple[int, int, int, int, int, tuple[int, ...]]
"""A log as a value that nobody changes: base, the first pair, the last pair (both may be the same
one), and the stamps and counts between them. For a store in this process, which keeps states as
they are: most hits fall into the last pair, and then nothing is copied."""

_new = tuple.__new__
"""Makes a Look as its class does, without the way through Python."""


def _live(log: Sequence[int], horizon: int) -> int:
    """Index of the first pair that is still inside the window that began after `horizon`."""
    at = 1
    while at < len(log) and log[at] <= horizon:
        at += 2
    return at


def look(limit: SlidingWindow, log: Sequence[int] | None, now: int, cost: int) -> Look:
    """See whether `cost` fits at `now`; changes nothing."""
    if log is None:
        return Look(True, limit.limit, 0, 0)
    now = max(now, log[-2])
    horizon = now - limit.window
    at = _live(log, horizon)
    if at >= len(log):
        return Look(True, limit.limit, 0, 0)
    remaining = limit.limit - (log[-1] - log[at - 1])
    reset = log[-2] - horizon
    wanted = cost or 1
    if wanted <= remaining:
        return Look(True, remaining, 0, reset)
    gone = log[-1] + wanted - limit.limit
    while log[at + 1] < gone:
        at += 2
    return Look(cost == 0, remaining, log[at] - horizon, reset)


def charge(limit: SlidingWindow, log: list[int] | None, now: int, cost: int) -> list[int]:
    """Record `cost` at `now`, in place where there is a log; the caller has looked first."""
    if log is None:
        return [0, now, cost]
    now = max(now, log[-2])
    at = _live(log, now - limit.window)
    if at >= len(log):
        return [0, now, cost]
    del log[: at - 1]
    crowded = len(log) // 2 >= limit.resolution
    if log[-2] == now or (crowded and log[-2] // limit.granule == now // limit.granule):
        log[-2] = now
        log[-1] += cost
    else:
        log += (now, log[-1] + cost)
    return log


def fold(self: SlidingWindow, state: Sequence[int] | None) -> Any:  # noqa: ARG001 - as every step
    """The same log as a value: what it begins and ends with, and the pairs between."""
    if state is None:
        return None
    return state[0], state[1], state[2], state[-2], state[-1], tuple(state[3:-2])


def unfold(self: SlidingWindow, state: Folded | None) -> Any:  # noqa: ARG001 - as every step
    """The log that was folded."""
    if state is None:
        return None
    base, first, reached, last, total, between = state
    return [base, first, reached] if first == last else [base, first, reached, *between, last, total]


def see(limit: SlidingWindow, state: Folded, now: int, cost: int) -> Look:
    """What `look` says of a folded log; at once where nothing has left it and the cost fits."""
    base, first, _, last, total, _ = state
    horizon = (now if now > last else last) - limit.window  # noqa: FURB136 - max() takes longer
    remaining = limit.limit - (total - base)
    if first > horizon and (cost or 1) <= remaining:
        return _new(Look, (True, remaining, 0, last - horizon))
    return look(limit, unfold(limit, state), now, cost)


def take(limit: SlidingWindow, state: Folded, now: int, cost: int) -> Folded | None:
    """Look and charge in one go: the folded log afterwards, or None when `cost` does not fit."""
    base, first, reached, last, total, between = state
    if now < last:  # noqa: PLR1730 - max() takes longer
        now = last
    horizon = now - limit.window
    if first <= horizon:
        if last <= horizon:
            return 0, now, cost, now, cost, ()
        at, pairs = 0, (*between, last, total)
        while pairs[at] <= horizon:
            at += 2
        base, first, reached = (pairs[at - 1] if at else reached), pairs[at], pairs[at + 1]
        between = between[at + 2 :]
    total_before = total
    total += cost
    if total - base > limit.limit:
        return None
    same_granule = now - last <= now % limit.granule
    if first == last:  # one pair
        if last == now or (same_granule and limit.resolution == 1):
            return base, now, total, now, total, ()
    elif last == now or (same_granule and len(between) >= 2 * limit.resolution - 4):  # two pairs and those between
        return base, first, reached, now, total, between
    else:
        between += last, total_before
    return base, first, reached, now, total, between


def refund(limit: SlidingWindow, log: list[int] | None, now: int, cost: int, stamp: int | None) -> list[int] | None:
    """Give `cost` back: from the group that holds the hit made at `stamp`, else from the oldest.

    The oldest is the only safe choice when the hit is not known: it can only be late.
    """
    if log is None:
        return None
    horizon = max(now, log[-2]) - limit.window
    at = _live(log, horizon)
    kept = [0]
    before = log[at - 1] if at < len(log) else 0
    if stamp is not None and stamp <= horizon:
        cost = 0
    for here in range(at, len(log), 2):
        count = log[here + 1] - before
        before = log[here + 1]
        if stamp is None or log[here] >= stamp:
            taken = min(count, cost)
            cost -= taken
            count -= taken
        if count:
            kept += (log[here], kept[-1] + count)
    return kept if len(kept) > 1 else None
