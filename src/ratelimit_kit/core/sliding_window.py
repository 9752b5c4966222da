"""Sliding window: a log of hits, so that no window of its length ever holds more than the limit.

The log is a list of groups of hits, each with a stamp (the time of its last hit) and a total (the units charged up to
and including it). A group leaves the window one window length after its stamp. The log does not depend on the limit, which judges it: under
a lowered limit more units may be in the window than it admits, and nothing is admitted until enough have left.

While fewer than `resolution` groups are alive, every hit has its own stamp and the log is exact.
Beyond that, hits in the same granule (window / resolution) share the later stamp: a group expires
late, by less than a granule, but never early, and the log never holds more than about twice
`resolution` groups.

`decide.lua` holds the same steps for the Redis server; a differential test compares them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from ratelimit_kit.core.durations import MICROSECONDS, Duration, microseconds, spell
from ratelimit_kit.core.limit import FOREVER, SKEW, Limit, Peek, whole_number
from ratelimit_kit.core.validation import known_options

Log = tuple[int, int, int, int, int, int, tuple[int, ...]]
"""A log: when it was made from nothing; `base`, the count before the first group; stamp and total of the first group and
of the last (both may be the same one); and the stamps and totals between them. Most hits belong to the last group, and
then nothing is copied."""

RESOLUTION = 32
"""The default resolution: hits in a window that are timed exactly."""

_new = tuple.__new__
"""Makes a Peek without a Python-level call."""


@dataclass(frozen=True, slots=True, init=False, repr=False)
class SlidingWindow(Limit):
    """At most `limit` units in any span of `per`, wherever the span is placed.

    `per` is seconds, a timedelta, or text such as "5 minutes". With up to `resolution` hits in a
    window every hit is timed exactly; beyond that, hits may expire late by up to per/resolution.
    A limit of 0 refuses everything.
    """

    limit: int
    per: float
    resolution: int
    window: int = field(compare=False)
    granule: int = field(compare=False)
    max_cost: int = field(compare=False)
    max_lifetime: int = field(compare=False)
    id: str = field(compare=False)
    counter: str = field(compare=False)
    last_at: ClassVar[int] = 4

    @known_options
    def __init__(self, limit: int, per: Duration, *, resolution: int = RESOLUTION) -> None:
        limit = whole_number("limit", limit, "SlidingWindow(100, per=60)", least=0)
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
            counter=f"sw-{window}",
        )

    def __str__(self) -> str:
        exact = "" if self.resolution == RESOLUTION else f" resolution {self.resolution}"
        return f"{self.limit}/{spell(self.window)}{exact}"

    def __repr__(self) -> str:
        return f"SlidingWindow({self.limit}, per={self.per:g}, resolution={self.resolution})"

    def peek(self, state: Log | None, now: int, cost: int) -> Peek:
        """Check whether `cost` fits at `now`, without changing anything."""
        if state is None:
            return Peek(True, self.limit, 0, 0) if self.limit else Peek(cost == 0, 0, FOREVER, 0)
        _, base, first, _, last, total, _ = state
        if last > now and last - now > SKEW:
            return self.peek(self.rewind(state, now), now, cost)
        horizon = (now if now > last else last) - self.window  # noqa: FURB136 - max() takes longer
        wanted = cost or 1
        until = last + self.window - now
        if first > horizon and wanted <= (remaining := self.limit - (total - base)):  # the most frequent case
            return _new(Peek, (True, remaining, 0, until))
        if last <= horizon:
            return self.peek(None, now, cost)
        groups = self._groups(state)
        at = 0
        while groups[at] <= horizon:
            base, at = groups[at + 1], at + 2
        remaining = self.limit - (total - base)
        if wanted <= remaining:
            return Peek(True, remaining, 0, until)
        remaining = max(0, remaining)
        if not self.limit:
            return Peek(cost == 0, 0, FOREVER, until)
        gone = total + wanted - self.limit
        while groups[at + 1] < gone:
            at += 2
        return Peek(cost == 0, remaining, groups[at] + self.window - now, until)

    def try_charge(self, state: Log | None, now: int, cost: int) -> Log | None:
        """The log after a charge of `cost` at `now`; None if it does not fit."""
        if state is None or state[4] <= now - self.window:
            return None if cost > self.limit else (now, 0, now, cost, now, cost, ())
        born, base, first, reached, last, total, between = state
        if now < last:
            if last - now > SKEW:
                return self.try_charge(self.rewind(state, now), now, cost)
            now = last
        horizon = now - self.window
        if first <= horizon:
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
                return born, base, now, total, now, total, ()
        elif last == now or (same_granule and len(between) >= 2 * self.resolution - 4):  # two groups and those between
            return born, base, first, reached, now, total, between
        else:
            between += last, total_before
        return born, base, first, reached, now, total, between

    def refund(self, state: Log | None, now: int, cost: int, charged_at: int | None) -> Log | None:
        """The log after refunding `cost`, from the group of the hit made at `charged_at` on, else from the oldest.

        If the hit is not known, the oldest is the only safe choice: hits can then only expire late.
        """
        if state is None:
            return None
        born, before, last = state[0], state[1], state[4]
        horizon = max(now, last) - self.window
        if charged_at is not None and (charged_at <= horizon or charged_at < born):
            cost = 0
        kept = [born, 0]
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
        return self.load(kept) if len(kept) > 2 else None

    def lifetime(self, state: Log, now: int) -> int:
        """Microseconds until the last hit leaves the window."""
        return state[4] + self.window - now

    def rewind(self, state: Log, now: int) -> Log:
        """The log with the hits that are later than `now` made at `now`, if the last is more than SKEW ahead."""
        born, base, _, _, last, total, _ = state
        if last - now <= SKEW:
            return state
        groups = self._groups(state)
        kept = [number for at in range(0, len(groups), 2) if groups[at] < now for number in groups[at : at + 2]]
        return self.load((min(born, now), base, *kept, now, total))

    def dump(self, state: Log) -> Sequence[int]:
        """When the log was made from nothing, the base, then stamp and total of each group, oldest first."""
        return (*state[:2], *self._groups(state))

    def load(self, numbers: Sequence[int]) -> Log:
        """The log from the result of `dump`."""
        return numbers[0], numbers[1], numbers[2], numbers[3], numbers[-2], numbers[-1], tuple(numbers[4:-2])

    @property
    def max_numbers(self) -> int:
        """Two, and two for each group: below the resolution there is one for each hit, and then at most one for each granule."""
        return 2 + 2 * min(self.limit, 2 * self.resolution + 2)

    @staticmethod
    def _groups(state: Log) -> Sequence[int]:
        """Stamp and total of each group, oldest first."""
        _, _, first, reached, last, total, between = state
        return (first, reached) if first == last else (first, reached, *between, last, total)
