"""Calendar windows where the clocks change."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from ratelimit_kit import FixedWindow

PARIS = ZoneInfo("Europe/Paris")


def at(text: str) -> int:
    return round(datetime.fromisoformat(text).replace(tzinfo=PARIS).timestamp() * 1_000_000)


@pytest.mark.parametrize(
    ("per", "now", "end"),
    [
        ("day", "2026-03-29T00:30", "2026-03-30T00:00"),
        ("day", "2026-10-25T23:59:59", "2026-10-26T00:00"),
        ("week", "2026-11-24T12:00", "2026-11-30T00:00"),
        ("week", "2026-11-30T00:00", "2026-12-07T00:00"),
        ("month", "2026-01-31T23:00", "2026-02-01T00:00"),
        ("month", "2026-12-01T00:00", "2027-01-01T00:00"),
        ("hour", "2026-11-24T12:00", "2026-11-24T13:00"),
        ("minute", "2026-11-24T12:00:59.999999", "2026-11-24T12:01"),
    ],
)
def test_windows_end_at_local_boundaries(per: str, now: str, end: str) -> None:
    assert FixedWindow(5, per=per, tz="Europe/Paris").window_end(at(now)) == at(end)


def test_a_local_day_lasts_23_or_25_hours_where_the_clocks_change() -> None:
    day = FixedWindow(5, per="day", tz="Europe/Paris")
    assert day.window_end(at("2026-03-29T00:00")) - at("2026-03-29T00:00") == 23 * 3_600_000_000
    assert day.window_end(at("2026-10-25T00:00")) - at("2026-10-25T00:00") == 25 * 3_600_000_000


def test_an_hour_that_the_clock_repeats_is_two_windows() -> None:
    hour = FixedWindow(5, per="hour", tz="Europe/Paris")
    first = at("2026-10-25T02:00")
    assert hour.window_end(first) == first + 3_600_000_000
    assert hour.window_end(first + 3_600_000_000) == first + 7_200_000_000
