"""Calendar windows against an oracle that enumerates them: every day of 400 years, and every change of a clock."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

import pytest

from ratelimit_kit import FixedWindow

HOUR = 3_600_000_000
DAY = 24 * HOUR
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def at(day: date) -> int:
    return (day - date(1970, 1, 1)).days * DAY


def clamped(year: int, month: int, day: int) -> date:
    while True:
        try:
            return date(year, month, day)
        except ValueError:
            day -= 1


def starts(per: str, month: int, day: int) -> list[date]:
    """The first days of all windows from 1999 to 2401."""
    step = {"month": 1, "quarter": 3, "year": 12}[per]
    months = [(year, one) for year in range(1999, 2402) for one in range(1, 13)]
    return [clamped(year, one, day) for year, one in months if (one - month) % step == 0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("per", "anchor", "month", "day"),
    [
        ("month", None, 1, 1),
        ("month", 15, 1, 15),
        ("month", 29, 1, 29),
        ("month", 31, 1, 31),
        ("quarter", None, 1, 1),
        ("quarter", "2026-05-31", 2, 31),
        ("quarter", 30, 1, 30),
        ("year", None, 1, 1),
        ("year", date(2024, 2, 29), 2, 29),
        ("year", "2026-04-01", 4, 1),
    ],
)
def test_windows_end_where_the_enumerated_ones_begin(per: str, anchor: Any, month: int, day: int) -> None:
    limit = FixedWindow(5, per=per, anchor=anchor)
    begins = [at(one) for one in starts(per, month, day)]
    for now in range(at(date(2000, 1, 1)), at(date(2400, 1, 1)), DAY):
        expected = begins[bisect_right(begins, now)]
        assert limit.window_end(now) == expected
        assert expected - now <= limit.max_lifetime


@pytest.mark.slow
def test_weeks_begin_on_monday_and_days_at_midnight() -> None:
    week, day = FixedWindow(5, per="week"), FixedWindow(5, per="day")
    for now in range(at(date(2000, 1, 1)), at(date(2400, 1, 1)), DAY):
        assert day.window_end(now) == now + DAY
        assert week.window_end(now) == now + DAY * (7 - (now // DAY + 3) % 7)


def local(now: int, zone: ZoneInfo) -> datetime:
    return (EPOCH + timedelta(microseconds=now)).astimezone(zone)


@cache
def changes(name: str) -> tuple[int, ...]:
    """When a zone's clocks change from 2020 to 2035."""
    zone, found = ZoneInfo(name), []
    days = range(at(date(2020, 1, 1)), at(date(2036, 1, 1)), DAY)
    for day in days:
        before, after = local(day, zone).utcoffset(), local(day + DAY, zone).utcoffset()
        if before != after:
            low, high = day, day + DAY
            while high - low > 1_000_000:
                middle = (low + high) // 2_000_000 * 1_000_000
                low, high = (middle, high) if local(middle, zone).utcoffset() == before else (low, middle)
            found.append(high)
    return tuple(found)


def zones() -> Iterator[str]:
    """One zone for each history of changes."""
    seen = set()
    for name in sorted(available_timezones()):
        history = (changes(name), local(at(date(2020, 1, 1)), ZoneInfo(name)).utcoffset())
        if history not in seen and history[0]:
            seen.add(history)
            yield name


@pytest.mark.slow
def test_windows_end_where_the_date_changes_on_every_clock_that_changes() -> None:
    tried = 0
    for name in zones():
        zone = ZoneInfo(name)
        day, week, month = (FixedWindow(5, per=per, tz=name) for per in ("day", "week", "month"))
        for change in changes(name):
            for now in (change - 26 * HOUR, change - HOUR, change - 1, change, change + 1, change + HOUR):
                today = local(now, zone).date()
                end = next(one for one in range(now // (HOUR // 4) * (HOUR // 4) + HOUR // 4, now + 28 * HOUR, HOUR // 4)
                           if local(one, zone).date() > today)  # fmt: skip
                assert day.window_end(now) == end, (name, now)
                assert day.window_end(end - 1) == end
                assert end - now <= day.max_lifetime
                for longer, first in ((week, 0), (month, None)):
                    stop = longer.window_end(now)
                    begin = local(stop, zone)
                    assert (begin.weekday() if first == 0 else begin.day) == (0 if first == 0 else 1)
                    assert local(stop - 1, zone).date() < begin.date()
                    assert longer.window_end(stop - 1) == stop
                    assert 0 < stop - now <= longer.max_lifetime
                tried += 1
    assert tried > 5000


@pytest.mark.slow
def test_hours_and_minutes_never_overlap_where_clocks_change() -> None:
    for name in zones():
        for per in ("hour", "minute"):
            limit = FixedWindow(5, per=per, tz=name)
            for change in changes(name):
                now = change - HOUR
                while now < change + HOUR:
                    end = limit.window_end(now)
                    assert now < end <= now + limit.max_lifetime
                    assert limit.window_end(end - 1) == end
                    now = end if per == "hour" else end + 7 * 60_000_000
