"""The limits users write: SlidingWindow, TokenBucket and FixedWindow, as frozen, hashable values.

A limit carries the integers that its algorithm needs and names the algorithm's steps: `look`
(changes nothing), `charge`, `take` (both in one, on folded states) and `refund`. The text form is read by `parse`, in grammar.py.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

from ratelimit_kit.core import calendar, fixed_window, sliding_window, token_bucket
from ratelimit_kit.core.decision import MICROSECONDS
from ratelimit_kit.core.durations import NAMED, UNITS, Duration, microseconds, spell
from ratelimit_kit.core.validation import known_options, nearest
from ratelimit_kit.errors import CostError, QuotaError

EXACT: Final = 2**53
"""Below it every integer is exact in a double, which is what Redis scripts compute with."""

_LARGEST: Final = 2**40


def _whole(name: str, value: object, example: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise QuotaError(f"{name}={value!r} is no whole number: write for example {example}")
    if not 1 <= value <= _LARGEST:
        raise QuotaError(f"{name}={value} is outside 1 to 2**40: write for example {example}")
    return value


class _Limit:
    """What the three limits have in common."""

    __slots__ = ()
    limit: int
    most: int

    def _keep(self, **values: Any) -> None:
        for name, value in values.items():
            object.__setattr__(self, name, value)

    def fold(self, state: Any) -> Any:
        """A state as a value that nobody changes."""
        return state

    def unfold(self, state: Any) -> Any:
        """The state that was folded."""
        return state

    def check_cost(self, cost: int) -> None:
        """Raise CostError unless `cost` is a whole number that can be admitted at some time."""
        if type(cost) is int and 0 <= cost <= self.most:
            return
        if type(cost) is not int or cost < 0:
            raise CostError(f"cost={cost!r} is no whole number of 0 or more: give the units that this hit uses")
        raise CostError(
            f"cost={cost} is above {self.most}, the most that {self} admits at once: no wait can satisfy it. "
            "Lower the cost, or raise the limit (for a token bucket its burst)"
        )


@dataclass(frozen=True, slots=True, init=False, repr=False)
class SlidingWindow(_Limit):
    """At most `limit` units in any span of `per`, wherever the span is placed.

    `per` is seconds, a timedelta, or text such as "5 minutes". With up to `resolution` hits in a
    window every hit is timed exactly; beyond, hits may be forgiven late by up to per/resolution.
    """

    limit: int
    per: float
    resolution: int
    window: int = field(compare=False)
    granule: int = field(compare=False)
    most: int = field(compare=False)
    longest: int = field(compare=False)
    id: str = field(compare=False)

    look = sliding_window.look
    see = sliding_window.see
    charge = sliding_window.charge
    take = sliding_window.take
    refund = sliding_window.refund
    fold = sliding_window.fold
    unfold = sliding_window.unfold

    @known_options
    def __init__(self, limit: int, per: Duration, *, resolution: int = 32) -> None:
        limit = _whole("limit", limit, "SlidingWindow(100, per=60)")
        resolution = _whole("resolution", resolution, "SlidingWindow(100, per=60, resolution=32)")
        window = microseconds(per)
        self._keep(
            limit=limit,
            per=window / MICROSECONDS,
            resolution=resolution,
            window=window,
            granule=max(1, window // resolution),
            most=limit,
            longest=window,
            id=f"sw-{limit}-{window}-{resolution}",
        )

    def __str__(self) -> str:
        return f"{self.limit}/{spell(self.window)}"

    def __repr__(self) -> str:
        return f"SlidingWindow({self.limit}, per={self.per:g}, resolution={self.resolution})"


@dataclass(frozen=True, slots=True, init=False, repr=False)
class TokenBucket(_Limit):
    """A bucket of `burst` tokens (default: `limit`) that refills at `limit` tokens `per` span.

    `per` is seconds, a timedelta, or text such as "5 minutes". In any span t at most
    `burst + t * limit / per` units are admitted.
    """

    limit: int
    per: float
    burst: int
    rate: int = field(compare=False)
    unit: int = field(compare=False)
    capacity: int = field(compare=False)
    most: int = field(compare=False)
    longest: int = field(compare=False)
    id: str = field(compare=False)

    look = token_bucket.look
    see = look
    charge = token_bucket.charge
    take = token_bucket.take
    refund = token_bucket.refund

    @known_options
    def __init__(self, limit: int, per: Duration, *, burst: int | None = None) -> None:
        limit = _whole("limit", limit, "TokenBucket(10, per=1, burst=50)")
        burst = limit if burst is None else _whole("burst", burst, "TokenBucket(10, per=1, burst=50)")
        window = microseconds(per)
        shared = math.gcd(limit, window)
        rate, unit = limit // shared, window // shared
        capacity = burst * unit
        if 2 * capacity + rate >= EXACT:
            raise QuotaError(
                f"a token bucket of {limit} per {spell(window)} with burst {burst} needs numbers above 2**53, "
                "which Redis cannot compute exactly: choose a rounder limit, a smaller burst, or a sliding window"
            )
        self._keep(
            limit=limit,
            per=window / MICROSECONDS,
            burst=burst,
            rate=rate,
            unit=unit,
            capacity=capacity,
            most=burst,
            longest=-(-capacity // rate),
            id=f"tb-{limit}-{window}-{burst}",
        )

    def __str__(self) -> str:
        return f"token-bucket: {self.limit}/{spell(self.unit * self.limit // self.rate)} burst {self.burst}"

    def __repr__(self) -> str:
        return f"TokenBucket({self.limit}, per={self.per:g}, burst={self.burst})"


@dataclass(frozen=True, slots=True, init=False, repr=False)
class FixedWindow(_Limit):
    """At most `limit` units per calendar minute, hour, day, week or month of the time zone `tz`.

    For quotas that reset on the calendar. Around a boundary up to twice the limit can pass; for
    "never more than N in any span" use SlidingWindow.
    """

    limit: int
    per: str
    tz: str
    most: int = field(compare=False)
    longest: int = field(compare=False)
    id: str = field(compare=False)

    look = fixed_window.look
    see = look
    charge = fixed_window.charge
    take = fixed_window.take
    refund = fixed_window.refund

    @known_options
    def __init__(self, limit: int, per: Duration, *, tz: str = "UTC") -> None:
        limit = _whole("limit", limit, 'FixedWindow(1000, per="day")')
        per = _period(per)
        calendar.zone(tz)
        self._keep(
            limit=limit,
            per=per,
            tz=tz,
            most=limit,
            longest=calendar.seconds_at_most(per) * MICROSECONDS,
            id=f"fw-{limit}-{per}-{tz}",
        )

    def window_end(self, now: int) -> int:
        """Microseconds of the epoch at which the window that holds `now` ends."""
        return calendar.window_end(self.per, calendar.zone(self.tz), now)

    def __str__(self) -> str:
        zone = "" if self.tz == "UTC" else f" ({self.tz})"
        return f"fixed-window: {self.limit}/{self.per}{zone}"

    def __repr__(self) -> str:
        return f"FixedWindow({self.limit}, per={self.per!r}, tz={self.tz!r})"


Limit = SlidingWindow | TokenBucket | FixedWindow


def _period(per: Duration) -> str:
    """The calendar unit that `per` names; a span of several units follows no calendar."""
    if isinstance(per, int | float | timedelta) and not isinstance(per, bool):
        span = microseconds(per)
        named = [name for name, seconds in NAMED.items() if seconds * MICROSECONDS == span]
    else:
        text = str(per).strip()
        unit = text.removeprefix("1 ").strip() if isinstance(per, str) else text
        named = [UNITS[unit]] if unit in UNITS else []
    if named and named[0] in calendar.PERIODS:
        return named[0]
    raise QuotaError(
        f"per={per!r} is no calendar window: {nearest(str(per), calendar.PERIODS)} "
        "(for other spans use a sliding window or a token bucket)"
    )


# The grammar builds these classes, so it can only be imported once they exist.
from ratelimit_kit.core.grammar import parse  # noqa: E402

__all__ = ["FixedWindow", "Limit", "SlidingWindow", "TokenBucket", "parse"]
