"""Fixed window: a counter for quotas that follow the calendar ("1000 per day, resets at midnight").

A state is `(end, count)`: the microsecond at which the current window ends, and the units charged
in it. If the clock runs backwards, the window stays the same. At most the limit is admitted
per calendar window, so up to twice the limit around a boundary: for "never more than N in
any minute" use the sliding window. Windows are minutes, hours, days, weeks (from Monday) and months, in a time zone.

`decide.lua` holds the same steps for the Redis server; a differential test compares them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from functools import cache

from ratelimit_kit.core.durations import MICROSECONDS, NAMED, UNITS, Duration, microseconds
from ratelimit_kit.core.limit import Limit, Peek, whole_number
from ratelimit_kit.core.validation import known_options, nearest
from ratelimit_kit.errors import QuotaError

Count = tuple[int, int]
"""When the current window ends (microseconds), and how many units were charged in it."""

MAX_SECONDS = {"minute": 60, "hour": 3600, "day": 90_000, "week": 608_400, "month": 31 * 86_400 + 3600}
"""Seconds in the longest window of each kind, clock changes included."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SHORT = {"minute": timedelta(minutes=1), "hour": timedelta(hours=1)}


@dataclass(frozen=True, slots=True, init=False, repr=False)
class FixedWindow(Limit):
    """At most `limit` units per calendar minute, hour, day, week or month of the time zone `tz`.

    For quotas that reset on the calendar. Around a boundary up to twice the limit can pass; for
    "never more than N in any span" use SlidingWindow.
    """

    limit: int
    per: str
    tz: str
    max_cost: int = field(compare=False)
    max_lifetime: int = field(compare=False)
    id: str = field(compare=False)

    @known_options
    def __init__(self, limit: int, per: Duration, *, tz: str = "UTC") -> None:
        limit = whole_number("limit", limit, 'FixedWindow(1000, per="day")')
        per = _period(per)
        _zone(tz)
        self._set(
            limit=limit,
            per=per,
            tz=tz,
            max_cost=limit,
            max_lifetime=MAX_SECONDS[per] * MICROSECONDS,
            id=f"fw-{limit}-{per}-{tz}",
        )

    def __str__(self) -> str:
        zone = "" if self.tz == "UTC" else f" ({self.tz})"
        return f"fixed-window: {self.limit}/{self.per}{zone}"

    def __repr__(self) -> str:
        return f"FixedWindow({self.limit}, per={self.per!r}, tz={self.tz!r})"

    def peek(self, state: Count | None, now: int, cost: int) -> Peek:
        """Check whether `cost` fits into the current window at `now`, without changing anything."""
        if state is None or now >= state[0]:
            return Peek(True, self.limit, 0, 0)
        end, count = state
        remaining = self.limit - count
        left = end - now
        fits_one = (cost or 1) <= remaining
        return Peek(fits_one or cost == 0, remaining, 0 if fits_one else left, left)

    def try_charge(self, state: Count | None, now: int, cost: int) -> Count | None:
        """The state after adding `cost` at `now`; None if it does not fit."""
        if state is None or now >= state[0]:
            return None if cost > self.limit else (self.window_end(now), cost)
        end, count = state
        count += cost
        return None if count > self.limit else (end, count)

    def refund(self, state: Count | None, now: int, cost: int, charged_at: int | None) -> Count | None:
        """The state after refunding `cost` to the current window, unless `charged_at` was in an earlier one."""
        if state is None or now >= state[0]:
            return None
        if charged_at is not None and self.window_end(charged_at) < state[0]:
            return state
        left = state[1] - cost
        return (state[0], left) if left > 0 else None

    def window_end(self, now: int) -> int:
        """The end of the window that contains `now`, in microseconds since the epoch."""
        local = (_EPOCH + timedelta(microseconds=now)).astimezone(_zone(self.tz))
        if self.per in _SHORT:
            return now + _rest_of(_SHORT[self.per], local)
        midnight = local.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
        end = _next_midnight(self.per, midnight)
        return (end.astimezone(UTC) - _EPOCH) // timedelta(microseconds=1)


@cache
def _zone(name: str) -> tzinfo:
    """The time zone with this IANA name; raises QuotaError if this machine does not have it."""
    if name == "UTC":
        return UTC
    from zoneinfo import ZoneInfo  # slow to import, and most limits do not need it

    try:
        return ZoneInfo(name)
    except (KeyError, OSError, ValueError) as error:
        raise QuotaError(
            f"tz={name!r} is not a time zone that this machine knows: use an IANA name such as 'Europe/Paris' "
            "(pip install tzdata if the system has no time zone files)"
        ) from error


def _rest_of(length: timedelta, local: datetime) -> int:
    """Microseconds left in a minute or hour, in elapsed time: an hour repeated by a clock change is two windows."""
    since_midnight = timedelta(
        hours=local.hour, minutes=local.minute, seconds=local.second, microseconds=local.microsecond
    )
    return (length - since_midnight % length) // timedelta(microseconds=1)


def _next_midnight(period: str, midnight: datetime) -> datetime:
    """The midnight that ends a day, week or month, in wall-clock time: a day of a clock change has 23 to 25 hours."""
    if period == "day":
        return midnight + timedelta(days=1)
    if period == "week":
        return midnight + timedelta(days=7 - midnight.weekday())
    first = midnight.replace(day=1)
    return (first + timedelta(days=32)).replace(day=1)


def _period(per: Duration) -> str:
    """The calendar unit that `per` names; a span of several units does not follow the calendar."""
    if isinstance(per, int | float | timedelta) and not isinstance(per, bool):
        span = microseconds(per)
        named = [name for name, seconds in NAMED.items() if seconds * MICROSECONDS == span]
    else:
        text = str(per).strip()
        unit = text.removeprefix("1 ").strip() if isinstance(per, str) else text
        named = [UNITS[unit]] if unit in UNITS else []
    if named and named[0] in MAX_SECONDS:
        return named[0]
    raise QuotaError(
        f"per={per!r} is not a calendar window: {nearest(str(per), MAX_SECONDS)} "
        "(for other spans use a sliding window or a token bucket)"
    )
