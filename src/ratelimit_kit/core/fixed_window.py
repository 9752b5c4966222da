"""Fixed window: a counter for quotas that follow the calendar ("1000 per day, resets at midnight").

A state is `(end, count, born)`: the microsecond at which the current window ends, the units charged in it, and when the
state was made from nothing. At most the limit is admitted per calendar window, so up to twice the limit around a
boundary: for "never more than N in any minute" use the sliding window.

Windows are minutes, hours, days, weeks (from Monday), months, quarters and years in a time zone. A day begins at the
first instant that has its date, also where the clocks change at midnight.

`decide.lua` holds the same steps for the Redis server; a differential test compares them.
"""

from __future__ import annotations

from calendar import monthrange
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta, tzinfo
from functools import cache
from typing import ClassVar, NamedTuple

from ratelimit_kit.core.durations import MICROSECONDS, NAMED, UNITS, Duration, microseconds, quoted
from ratelimit_kit.core.limit import FOREVER, SKEW, Limit, Peek, whole_number
from ratelimit_kit.core.validation import known_options, nearest
from ratelimit_kit.errors import QuotaError

Count = tuple[int, int, int]
"""When the current window ends, how much was charged in it, and when the state was made from nothing."""

Anchor = int | str | date | None
"""Where months, quarters or years begin: a day of the month, or a date (or its text)."""

_CHANGE = 3 * 3600
"""Seconds by which a change of the clocks may make a window longer or shorter."""

_DAY = 86_400


class Span(NamedTuple):
    """How long a calendar window is, in seconds: at least, as people count it, and at most."""

    shortest: int
    nominal: int
    longest: int


SPANS_OF_UNITS = {
    "minute": Span(60, 60, 60),
    "hour": Span(1800, 3600, 3600),
    "day": Span(_DAY - _CHANGE, _DAY, _DAY + _CHANGE),
    "week": Span(7 * _DAY - _CHANGE, 7 * _DAY, 7 * _DAY + _CHANGE),
    "month": Span(28 * _DAY - _CHANGE, 30 * _DAY, 31 * _DAY + _CHANGE),
    "quarter": Span(89 * _DAY - _CHANGE, 90 * _DAY, 92 * _DAY + _CHANGE),
    "year": Span(365 * _DAY - _CHANGE, 365 * _DAY, 366 * _DAY + _CHANGE),
}
"""The calendar units; an anchored month or quarter may begin on a clamped day."""

_MONTHS = {"month": 1, "quarter": 3, "year": 12}
"""Months in the windows that may have an anchor."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SHORT = {"minute": timedelta(minutes=1), "hour": timedelta(hours=1)}


@dataclass(frozen=True, slots=True, init=False, repr=False)
class FixedWindow(Limit):
    """At most `limit` units per calendar minute, hour, day, week, month, quarter or year of the time zone `tz`.

    For quotas that reset on the calendar. Around a boundary up to twice the limit can pass; for
    "never more than N in any span" use SlidingWindow. `anchor` is where months, quarters or years begin: a day of the
    month, or a date such as "2026-04-01"; in a month without that day they begin on its last one. A limit of 0
    refuses everything.
    """

    limit: int
    per: str
    tz: str
    anchor: int | date | None
    max_cost: int = field(compare=False)
    max_lifetime: int = field(compare=False)
    id: str = field(compare=False)
    counter: str = field(compare=False)
    last_at: ClassVar[int] = 2

    @known_options
    def __init__(self, limit: int, per: Duration, *, tz: str | tzinfo = "UTC", anchor: Anchor = None) -> None:
        limit = whole_number("limit", limit, 'FixedWindow(1000, per="day")', least=0)
        per = _period(per)
        tz = _zone_name(tz)
        begin = _anchor(anchor, per)
        kind = f"{per}-{tz}" if begin is None else f"{per}-{tz}-{begin}"
        self._set(
            limit=limit,
            per=per,
            tz=tz,
            anchor=begin,
            max_cost=limit,
            max_lifetime=SPANS_OF_UNITS[per].longest * MICROSECONDS,
            id=f"fw-{limit}-{kind}",
            counter=f"fw-{kind}",
        )

    def __str__(self) -> str:
        zone = "" if self.tz == "UTC" else f" {self.tz}"
        anchor = "" if self.anchor is None else f" anchor {self.anchor}"
        return f"fixed-window: {self.limit}/{self.per}{zone}{anchor}"

    def __repr__(self) -> str:
        begin = str(self.anchor) if isinstance(self.anchor, date) else self.anchor
        anchor = "" if begin is None else f", anchor={begin!r}"
        return f"FixedWindow({self.limit}, per={self.per!r}, tz={self.tz!r}{anchor})"

    @property
    def span(self) -> Span:
        """How long its windows are."""
        return SPANS_OF_UNITS[self.per]

    def peek(self, state: Count | None, now: int, cost: int) -> Peek:
        """Check whether `cost` fits into the current window at `now`, without changing anything."""
        end, count = (now, 0) if state is None or now >= state[0] else self.rewind(state, now)[:2]
        remaining = self.limit - count
        left = end - now
        if (cost or 1) <= remaining:
            return Peek(True, remaining, 0, left)
        return Peek(cost == 0, max(0, remaining), left if self.limit else FOREVER, left)

    def try_charge(self, state: Count | None, now: int, cost: int) -> Count | None:
        """The state after adding `cost` at `now`; None if it does not fit."""
        if state is None or now >= state[0]:
            return None if cost > self.limit else (self.window_end(now), cost, now)
        end, count, born = self.rewind(state, now)
        count += cost
        return None if count > self.limit else (end, count, born)

    def refund(self, state: Count | None, now: int, cost: int, charged_at: int | None) -> Count | None:
        """The state after refunding `cost`, unless the hit made at `charged_at` was counted in another state."""
        if state is None or now >= state[0]:
            return None
        end, count, born = state
        if charged_at is not None and not (born <= charged_at <= now + SKEW and self.window_end(charged_at) == end):
            return state
        count -= cost
        return (end, count, born) if count > 0 else None

    def lifetime(self, state: Count, now: int) -> int:
        """Microseconds until the state's window ends."""
        return state[0] - now

    def rewind(self, state: Count, now: int) -> Count:
        """The state in the window of `now`, if it was made more than SKEW later."""
        end, count, born = state
        return state if born - now <= SKEW else (min(end, self.window_end(now)), count, now)

    def window_end(self, now: int) -> int:
        """The end of the window that contains `now`, in microseconds since the epoch."""
        zone = time_zone(self.tz)
        local = _local(now, zone)
        if self.per in _SHORT:
            return now + _rest_of(_SHORT[self.per], local)
        day = local.date()
        while True:
            day = _next_first(day, self.per, self.anchor)
            end = _begin(day, zone)
            if end > now:  # not so where the clocks go back over midnight
                return end


@cache
def time_zone(name: str) -> tzinfo:
    """The time zone with this IANA name; raises QuotaError if this machine does not have it."""
    if name == "UTC":
        return UTC
    from zoneinfo import ZoneInfo  # slow to import, and most limits do not need it

    try:
        return ZoneInfo(name)
    except (KeyError, OSError, ValueError) as error:
        raise QuotaError(
            f"tz={quoted(name)} is not a time zone that this machine knows: use an IANA name such as 'Europe/Paris' "
            "(pip install tzdata if the system has no time zone files)"
        ) from error


def _zone_name(tz: object) -> str:
    """The IANA name of a zone that was given by name, or as a ZoneInfo or `timezone.utc`; QuotaError for others."""
    name = getattr(tz, "key", "UTC" if tz is UTC else tz)
    if not isinstance(name, str):
        raise QuotaError(f"tz={quoted(tz)} is not a time zone: use an IANA name such as 'Europe/Paris'")
    time_zone(name)
    return name


def _rest_of(length: timedelta, local: datetime) -> int:
    """Microseconds left in a minute or hour, in elapsed time: an hour repeated by a clock change is two windows."""
    since_midnight = timedelta(
        hours=local.hour, minutes=local.minute, seconds=local.second, microseconds=local.microsecond
    )
    return (length - since_midnight % length) // timedelta(microseconds=1)


def _begin(day: date, zone: tzinfo) -> int:
    """Microseconds of the epoch of the first instant that has this date, or a later one."""
    midnight = datetime(day.year, day.month, day.day, tzinfo=zone)
    high = _instant(midnight)
    if _local(high, zone).replace(tzinfo=None, fold=0) == midnight.replace(tzinfo=None):
        return high
    low = _instant(midnight.replace(fold=1))  # no clock shows this midnight: it is where clocks are put forward
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _local(middle, zone).date() < day else (low, middle)
    return high


def _local(instant: int, zone: tzinfo) -> datetime:
    return (_EPOCH + timedelta(microseconds=instant)).astimezone(zone)


def _instant(local: datetime) -> int:
    return (local.astimezone(UTC) - _EPOCH) // timedelta(microseconds=1)


def _next_first(day: date, period: str, anchor: int | date | None) -> date:
    """The first day of the window after the one that holds `day`."""
    if period == "day":
        return day + timedelta(days=1)
    if period == "week":
        return day + timedelta(days=7 - day.weekday())
    months = _MONTHS[period]
    month, first = (anchor.month, anchor.day) if isinstance(anchor, date) else (1, anchor or 1)
    at = day.year * 12 + day.month - 1
    at -= (at - (month - 1)) % months
    while (begin := _clamped(at, first)) <= day:
        at += months
    return begin


def _clamped(month: int, day: int) -> date:
    """A day of a month, counted from year 0, or its last day if it has fewer."""
    year, month = divmod(month, 12)
    return date(year, month + 1, min(day, monthrange(year, month + 1)[1]))


def _anchor(anchor: Anchor, period: str) -> int | date | None:
    """The anchor in the one form that has no synonym; None where windows begin as the calendar does."""
    if anchor is None:
        return None
    if period not in _MONTHS:
        raise QuotaError(
            f"anchor={quoted(anchor)} is for months, quarters and years: a {period} begins as the calendar says"
        )
    found = anchor
    if isinstance(found, str):
        try:
            found = int(found) if found.isdecimal() and len(found) <= 2 else date.fromisoformat(found)
        except ValueError:
            found = 0
    if isinstance(found, datetime):
        found = found.date()
    if type(found) is int and 1 <= found <= 31:
        month, day = 1, found
    elif isinstance(found, date):
        month, day = found.month, found.day
    else:
        raise QuotaError(
            f"anchor={quoted(anchor)} is not a day from 1 to 31 or a date. For example: anchor=15, or anchor='2026-04-01'"
        )
    months = _MONTHS[period]
    if months == 1:
        return None if day == 1 else day
    month = (month - 1) % months + 1
    while monthrange(2000, month)[1] < day:
        month += months
    return None if (month, day) == (1, 1) else date(2000, month, day)


def _period(per: Duration) -> str:
    """The calendar unit that `per` names; a span of several units does not follow the calendar."""
    if isinstance(per, int | float | timedelta) and not isinstance(per, bool):
        span = microseconds(per)
        named = [name for name, seconds in NAMED.items() if seconds * MICROSECONDS == span]
    else:
        text = str(per).strip().lower()
        unit = text.removeprefix("1 ").strip() if isinstance(per, str) else text
        named = [UNITS[unit]] if unit in UNITS else []
    if named and named[0] in SPANS_OF_UNITS:
        return named[0]
    raise QuotaError(
        f"per={quoted(per)} is not a calendar window: {nearest(quoted(per)[:50], SPANS_OF_UNITS)} "
        "(for other spans use a sliding window or a token bucket)"
    )
