"""Converts durations as users write them (`60`, `timedelta(minutes=1)`, `"5 minutes"`) to whole microseconds."""

from __future__ import annotations

import re
import sys
from datetime import timedelta

from ratelimit_kit.core.validation import nearest
from ratelimit_kit.errors import QuotaError

MICROSECONDS = 1_000_000
"""Microseconds in a second."""

Duration = float | timedelta | str

NAMED = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400, "week": 604_800}
"""Seconds in each unit of fixed length, from a second on."""

_SMALL = {"millisecond": 1000, "microsecond": 1}

SPANS = {**_SMALL, **{name: seconds * MICROSECONDS for name, seconds in NAMED.items()}}
"""Microseconds in each unit of fixed length."""

CALENDAR = ("month", "quarter", "year")
"""Units that have no fixed length."""

UNITS = {
    **{name: name for name in (*SPANS, *CALENDAR)},
    **{name + "s": name for name in (*SPANS, *CALENDAR)},
    "us": "microsecond",
    "ms": "millisecond",
    "s": "second",
    "sec": "second",
    "secs": "second",
    "m": "minute",
    "min": "minute",
    "mins": "minute",
    "h": "hour",
    "hr": "hour",
    "hrs": "hour",
    "d": "day",
    "w": "week",
}
"""Every spelling of a unit, in lower case, and its name."""

MAX_SPAN = 3660 * 86_400 * MICROSECONDS
"""Ten years: no quota is meant for longer, and twice a time of the epoch stays exact in a double."""

_TEXT = re.compile(r"(?:(\d{1,15})\s*)?([A-Za-z]+)", re.ASCII)


def microseconds(per: Duration) -> int:
    """The whole microseconds in `per`: seconds, a timedelta, or text such as "5 minutes".

    Raises QuotaError unless it is a positive span of at most ten years.
    """
    span = _read(per)
    if not 0 < span <= MAX_SPAN:
        raise QuotaError(f"per must be between 1 microsecond and ten years, got {quoted(per)}")
    return round(span)


def quoted(value: object) -> str:
    """A value as an error quotes it: what is too long is cut, and Python writes no number of 5,000 digits."""
    try:
        text = repr(value)
    except ValueError:
        return f"a number of more than {sys.get_int_max_str_digits()} digits"
    return text if len(text) <= 100 else text[:80] + "..."


def _read(per: Duration) -> float:
    if isinstance(per, str):
        return _read_text(per)
    if isinstance(per, timedelta):
        return per // timedelta(microseconds=1)
    if isinstance(per, bool) or not isinstance(per, int | float):
        raise QuotaError(f"per must be seconds, a timedelta, or text such as '5 minutes', got {quoted(per)}")
    if per != per or per in (float("inf"), float("-inf")):  # noqa: PLR0124 - the test for not-a-number
        raise QuotaError(f"per must be a finite number of seconds, got {per!r}")
    return round(per * MICROSECONDS) if -MAX_SPAN < per < MAX_SPAN else per


def _read_text(text: str) -> int:
    match = _TEXT.fullmatch(text.strip())
    if match is None:
        raise QuotaError(f"per must be a number and a unit, such as '5 minutes', got {quoted(text)}")
    count, unit = match.groups()
    name = UNITS.get(unit.lower())
    if name is None:
        raise QuotaError(f"per={quoted(text)}: {quoted(unit)} is not a unit of time; {nearest(unit[:50], UNITS)}")
    if name in CALENDAR:
        raise QuotaError(f"per={quoted(text)}: {no_span(name)}")
    return int(count or 1) * SPANS[name]


def no_span(unit: str) -> str:
    """What to write instead of a calendar unit where a span of fixed length is needed."""
    days = {"month": 30, "quarter": 90, "year": 365}[unit]
    return f"a {unit} has no fixed length: write '{days} days', or 'fixed-window: N/{unit}' to follow the calendar"


def spell(span: int) -> str:
    """The span in words, as in the limit grammar: `minute`, `5 minutes`, `1500 ms`."""
    for name, length in sorted(SPANS.items(), key=lambda one: -one[1]):
        count, rest = divmod(span, length)
        if count and not rest:
            short = {"millisecond": "ms", "microsecond": "us"}.get(name)
            return (name if count == 1 else f"{count} {name}s") if short is None else f"{count} {short}"
    raise AssertionError(span)
