"""Where calendar windows end: minutes, hours, days, weeks (from Monday) and months, in a time zone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from functools import cache

from ratelimit_kit.errors import QuotaError

PERIODS = ("minute", "hour", "day", "week", "month")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SHORT = {"minute": timedelta(minutes=1), "hour": timedelta(hours=1)}


@cache
def zone(name: str) -> tzinfo:
    """The time zone of that IANA name; QuotaError when this machine knows none."""
    if name == "UTC":
        return UTC
    from zoneinfo import ZoneInfo  # most need none, and wait for its import

    try:
        return ZoneInfo(name)
    except (KeyError, OSError, ValueError) as error:
        raise QuotaError(
            f"tz={name!r} is no time zone of this machine: give an IANA name such as 'Europe/Paris' "
            "(pip install tzdata where the system has no zone files)"
        ) from error


def window_end(period: str, tz: tzinfo, now: int) -> int:
    """Microseconds of the epoch at which the window that holds `now` ends."""
    local = (_EPOCH + timedelta(microseconds=now)).astimezone(tz)
    if period in _SHORT:
        return now + _rest_of(_SHORT[period], local)
    midnight = local.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    end = _next_midnight(period, midnight)
    return (end.astimezone(UTC) - _EPOCH) // timedelta(microseconds=1)


def _rest_of(length: timedelta, local: datetime) -> int:
    """Short windows are counted in elapsed time, so an hour repeated by a clock change is two windows."""
    since_midnight = timedelta(
        hours=local.hour, minutes=local.minute, seconds=local.second, microseconds=local.microsecond
    )
    return (length - since_midnight % length) // timedelta(microseconds=1)


def _next_midnight(period: str, midnight: datetime) -> datetime:
    """Wall-clock arithmetic: a local day lasts 23 to 25 hours where the clocks change."""
    if period == "day":
        return midnight + timedelta(days=1)
    if period == "week":
        return midnight + timedelta(days=7 - midnight.weekday())
    first = midnight.replace(day=1)
    return (first + timedelta(days=32)).replace(day=1)


def seconds_at_most(period: str) -> int:
    """Seconds in the longest window of this kind, clock changes included."""
    return {"minute": 60, "hour": 3600, "day": 90_000, "week": 608_400, "month": 31 * 86_400 + 3600}[period]
