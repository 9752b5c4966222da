"""Sliding window: a log of hits, so that no window of its length ever holds more than the limit.

The log is a list of groups of hits, each with a stamp (the time of its last hit) and a total (the units charged up to
and including it). A group leaves the window one window length after its stamp.

While fewer than `resolution` groups are alive, every hit has its own stamp and the log is exact.
Beyond that, hits in the same granule (window / resolution) share the later stamp: a group expires
late, by less than a granule, but never early, and the log never holds more than about twice
`resolution` groups.

`decide.lua` holds the same steps for the Redis server; a differential test compares them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from ratelimit_kit.core.durations import MICROSECONDS, Duration, microseconds, spell
from ratelimit_kit.core.limit import Limit, Peek, whole_number
from ratelimit_kit.core.validation import known_options

Log = tuple[int, int, int, int, int, tuple[int, ...]]
"""A log: `base`, the count before the first group; stamp and total of the first group and of the last (both may be the
same one); and the stamps and totals between them. Most hits belong to the last group, and then nothing is copied."""

_new = tuple.__new__
"""Makes a Peek without a Python-level call."""


@dataclass(frozen=True, slots=True, init=False, repr=False)
class SlidingWindow(Limit):
    """At most `limit` units in any span of `per`, wherever the span is placed.

    `per` is seconds, a timedelta, or text such as "5 minutes". With up to `resolution` hits in a
    window every hit is timed exactly; beyond that, hits may expire late by up to per/resolution.
    """

    limit: int
    per: float
    resolution: int
    window: int = field(compare=False)
    granule: int = field(compare=False)
    max_cost: int = field(compare=False)
    max_lifetime: int = field(compare=False)
    id: str = field(compare=False)

    @known_options
    def __init__(self, limit: int, per: Duration, *, resolution: int = 32) -> None:
        limit = whole_number("limit", limit, "SlidingWindow(100, per=60)")
        resolution = whole_number("resolution", resolution, "SlidingWindow(100, per=60, resolution=32)")
        window = microseconds(per)
        self._set(
            limit=limit,
            per=window / MICROSECONDS,
            resolution=resolution,
            window=window,
            granule=max(1, window // resolution),
            max_cost=limit,
            max_lifetime=window,
            id=f"sw-{limit}-{window}-{resolution}",
        )

    def __str__(self) -> str:
        return f"{self.limit}/{spell(self.window)}"

    def __repr__(self) -> str:
        return f"SlidingWindow({self.limit}, per={self.per:g}, resolution={self.resolution})"

    def peek(self, state: Log | None, now: int, cost: int) -> Peek:
        """Check whether `cost` fits at `now`, without changing anything."""
        if state is None:
            return Peek(True, self.limit, 0, 0)
        base, first, _, last, total, _ = state
        horizon = (now if now > last else last) - self.window  # noqa: FURB136 - max() takes longer
        wanted = cost or 1
        if first > horizon and wanted <= (remaining := self.limit - (total - base)):  # the most frequent case
            return _new(Peek, (True, remaining, 0, last - horizon))
        if last <= horizon:
            return Peek(True, self.limit, 0, 0)
        groups = self._groups(state)
        at = 0
        while groups[at] <= horizon:
            base, at = groups[at + 1], at + 2
        remaining = self.limit - (total - base)
        if wanted <= remaining:
            return Peek(True, remaining, 0, last - horizon)
        gone = total + wanted - self.limit
        while groups[at + 1] < gone:
            at += 2
        return Peek(cost == 0, remaining, groups[at] - horizon, last - horizon)

    def try_charge(self, state: Log | None, now: int, cost: int) -> Log | None:
        """The log after a charge of `cost` at `now`; None if it does not fit."""
        if state is None:
            return None if cost > self.limit else (0, now, cost, now, cost, ())
        base, first, reached, last, total, between = state
        if now < last:  # noqa: PLR1730 - max() takes longer
            now = last
        horizon = now - self.window
        if first <= horizon:
            if last <= horizon:
                return None if cost > self.limit else (0, now, cost, now, cost, ())
            at, groups = 0, (*between, last, total)
            while groups[at] <= horizon:
                at += 2
            base, first, reached = (groups[at - 1] if at else reached), groups[at], groups[at + 1]
            between = between[at + 2 :]
        total_before = total
        total += cost
        if total - base > self.limit:
            return None
        same_granule = now - last <= now % self.granule
        if first == last:  # one group
            if last == now or (same_granule and self.resolution == 1):
                return base, now, total, now, total, ()
        elif last == now or (same_granule and len(between) >= 2 * self.resolution - 4):  # two groups and those between
            return base, first, reached, now, total, between
        else:
            between += last, total_before
        return base, first, reached, now, total, between

    def refund(self, state: Log | None, now: int, cost: int, charged_at: int | None) -> Log | None:
        """The log after refunding `cost`, from the group of the hit made at `charged_at` on, else from the oldest.

        If the hit is not known, the oldest is the only safe choice: hits can then only expire late.
        """
        if state is None:
            return None
        before, last = state[0], state[3]
        horizon = max(now, last) - self.window
        if charged_at is not None and charged_at <= horizon:
            cost = 0
        kept = [0]
        groups = self._groups(state)
        for at in range(0, len(groups), 2):
            stamp, count = groups[at], groups[at + 1] - before
            before = groups[at + 1]
            if stamp <= horizon:
                continue
            if charged_at is None or stamp >= charged_at:
                taken = min(count, cost)
                cost -= taken
                count -= taken
            if count:
                kept += (stamp, kept[-1] + count)
        return self.load(kept) if len(kept) > 1 else None

    def dump(self, state: Log) -> Sequence[int]:
        """The base, then stamp and total of each group, oldest first."""
        return (state[0], *self._groups(state))

    def load(self, numbers: Sequence[int]) -> Log:
        """The log from the result of `dump`."""
        return numbers[0], numbers[1], numbers[2], numbers[-2], numbers[-1], tuple(numbers[3:-2])

    @staticmethod
    def _groups(state: Log) -> Sequence[int]:
        """Stamp and total of each group, oldest first."""
        _, first, reached, last, total, between = state
        return (first, reached) if first == last else (first, reached, *between, last, total)
