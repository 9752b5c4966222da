"""Converts durations as users write them (`60`, `timedelta(minutes=1)`, `"5 minutes"`) to whole microseconds."""

from __future__ import annotations

import re
from datetime import timedelta

from ratelimit_kit.core.validation import nearest
from ratelimit_kit.errors import QuotaError

MICROSECONDS = 1_000_000
"""Microseconds in a second."""

Duration = float | timedelta | str

NAMED = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400, "week": 604_800}
"""The units of fixed length, in seconds."""

UNITS = {
    **{name: name for name in NAMED},
    **{name + "s": name for name in NAMED},
    "s": "second",
    "sec": "second",
    "m": "minute",
    "min": "minute",
    "h": "hour",
    "d": "day",
    "w": "week",
    "month": "month",
}
"""Every spelling of a unit, and its name. A month has no fixed length."""

LONGEST = 3660 * 86_400 * MICROSECONDS
"""Ten years: beyond that, microseconds since the epoch are no longer exact in a double."""

_TEXT = re.compile(r"(?:(\d+)\s*)?([A-Za-z]+)", re.ASCII)


def microseconds(per: Duration) -> int:
    """The whole microseconds in `per`: seconds, a timedelta, or text such as "5 minutes".

    Raises QuotaError unless it is a positive span of at most ten years.
    """
    span = _read(per)
    if not 0 < span <= LONGEST:
        raise QuotaError(f"per must be between 1 microsecond and ten years, got {per!r}")
    return span


def _read(per: Duration) -> int:
    if isinstance(per, str):
        return _read_text(per)
    if isinstance(per, timedelta):
        return per // timedelta(microseconds=1)
    if isinstance(per, bool) or not isinstance(per, int | float):
        raise QuotaError(f"per must be seconds, a timedelta, or text such as '5 minutes', got {per!r}")
    if per != per or per in (float("inf"), float("-inf")):  # noqa: PLR0124 - the test for not-a-number
        raise QuotaError(f"per must be a finite number of seconds, got {per!r}")
    return round(per * MICROSECONDS)


def _read_text(text: str) -> int:
    match = _TEXT.fullmatch(text.strip())
    if match is None:
        raise QuotaError(f"per must be a number and a unit, such as '5 minutes', got {text!r}")
    count, unit = match.groups()
    name = UNITS.get(unit)
    if name is None:
        raise QuotaError(f"per={text!r}: {unit!r} is not a unit of time; {nearest(unit, UNITS)}")
    if name == "month":
        raise QuotaError(
            f"per={text!r}: a month has no fixed length. Write '30 days', or use a fixed window, which follows the calendar"
        )
    return int(count or 1) * NAMED[name] * MICROSECONDS


def spell(span: int) -> str:
    """The span in words, as in the limit grammar: `minute`, `5 minutes`, `0.5 seconds`."""
    for name, seconds in reversed(NAMED.items()):
        count, rest = divmod(span, seconds * MICROSECONDS)
        if count and not rest:
            return name if count == 1 else f"{count} {name}s"
    return f"{span / MICROSECONDS:g} seconds"
