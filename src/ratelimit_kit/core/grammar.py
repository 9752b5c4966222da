"""The text form of limits: one grammar for the whole text, which rejects anything unknown and shows where.

    limits = limit *( ";" limit )
    limit  = [ algorithm ":" ] N ( "/" | "per" ) [ k ] unit [ "burst" B ]

Algorithms: sliding-window (the default), token-bucket, fixed-window. Units: s sec second(s),
m min minute(s), h hour(s), d day(s), w week(s), and month for a fixed window.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from ratelimit_kit.core.durations import LONGEST, MICROSECONDS, NAMED, UNITS
from ratelimit_kit.core.fixed_window import FixedWindow
from ratelimit_kit.core.limit import Limit
from ratelimit_kit.core.sliding_window import SlidingWindow
from ratelimit_kit.core.token_bucket import TokenBucket
from ratelimit_kit.core.validation import nearest
from ratelimit_kit.errors import QuotaError

ALGORITHMS = ("sliding-window", "token-bucket", "fixed-window")

_TOKEN = re.compile(r"\s*(?:(?P<number>\d+)|(?P<word>[A-Za-z][A-Za-z-]*)|(?P<mark>[/:])|(?P<other>\S))", re.ASCII)
_LONGEST = 1000
"""Maximum length of the text of limits: it may come from a config file or a database, and errors quote it."""

_DIGITS = 15
"""Maximum number of digits: no limit is above 2**40."""

_EXAMPLE = "for example '100/minute' or 'token-bucket: 10/second burst 50'"


def parse(text: str) -> tuple[Limit, ...]:
    """Read one or several limits, separated by `;`, from text.

    Raises QuotaError, which shows the position of the mistake and the nearest valid spelling.
    """
    if not isinstance(text, str):
        raise QuotaError(f"a limit must be text, got {text!r}: {_EXAMPLE}")
    if len(text) > _LONGEST:
        raise QuotaError(f"the text of a limit may have {_LONGEST} characters, got {len(text)}: {_EXAMPLE}")
    limits = []
    start = 0
    for part in text.split(";"):
        limits.append(_Reader(text, start, start + len(part)).limit())
        start += len(part) + 1
    return tuple(limits)


def read_limits(limits: Sequence[str | Limit]) -> tuple[Limit, ...]:
    """Limits from text and Limit objects, in order; raises QuotaError if there is none or a duplicate."""
    read: list[Limit] = []
    for limit in limits:
        if isinstance(limit, Limit):
            read.append(limit)
        else:
            read.extend(parse(limit))
    if not read:
        raise QuotaError("no limit was given. For example: '100/minute'")
    for limit in read:
        if read.count(limit) > 1:
            raise QuotaError(f"the limit {limit} is given twice: each hit would be counted twice. Remove one")
    return tuple(read)


def _meant(word: str) -> str:
    """A suggestion for an unknown unit; "month" and "year" by their beginning, because `m` is close to everything."""
    if word.lower().startswith(("mo", "mn", "mt")):
        return "did you mean 'month'?"
    if word.lower().startswith("y"):
        return "a year is '365 days'"
    return nearest(word, UNITS)


class _Reader:
    """Parses one limit in `text[start:end]`, token by token."""

    def __init__(self, text: str, start: int, end: int) -> None:
        self.text = text
        self.end = end
        self.at = start
        self.kind = ""
        self.token = ""
        self.position = start
        self._advance()

    def limit(self) -> Limit:
        algorithm = self._algorithm()
        position = self.position
        limit = self._number("the limit")
        if not self._take("/") and not self._take("per"):
            raise self._error(f"expected '/' or 'per' after {limit}; {_EXAMPLE}")
        count_at = self.position
        count = self._number("the count of units") if self.kind == "number" else 1
        unit = self._unit()
        burst = self._burst(algorithm)
        if self.token:
            hint = ": several limits are separated by ';'" if self.token in {",", "and", "|"} else ""
            raise self._error(f"{self.token!r} is not expected here{hint}")
        if unit == "month" and algorithm != "fixed-window":
            raise self._error(
                "a month has no fixed length: write '30 days', or 'fixed-window: N/month' to follow the calendar",
                self._find("month", count_at),
            )
        if algorithm == "fixed-window":
            if count != 1:
                raise self._error(
                    "a fixed window is one calendar unit: write minute, hour, day, week or month", count_at
                )
            return self._build(position, lambda: FixedWindow(limit, unit))
        per = count * NAMED[unit]
        if per * MICROSECONDS > LONGEST:
            raise self._error("a span may be at most ten years", count_at)
        if algorithm == "token-bucket":
            return self._build(position, lambda: TokenBucket(limit, per, burst=burst))
        return self._build(position, lambda: SlidingWindow(limit, per))

    def _algorithm(self) -> str:
        if self.kind != "word":
            return ALGORITHMS[0]
        if self.token not in ALGORITHMS:
            raise self._error(f"{self.token!r} is not an algorithm; {nearest(self.token, ALGORITHMS)}")
        name = self.token
        self._advance()
        if not self._take(":"):
            raise self._error(f"expected ':' after {name}")
        return name

    def _number(self, what: str) -> int:
        if self.kind != "number":
            found = repr(self.token) if self.token else "the end"
            raise self._error(f"expected {what}, a whole number, but found {found}; {_EXAMPLE}")
        if len(self.token) > _DIGITS:
            raise self._error(f"{what} is above 2**40")
        if int(self.token) == 0:
            raise self._error(f"{what} must be 1 or more")
        value = int(self.token)
        self._advance()
        return value

    def _unit(self) -> str:
        if self.kind != "word":
            found = repr(self.token) if self.token else "the end"
            raise self._error(f"expected a unit of time but found {found}; {_meant(self.token)}")
        if self.token not in UNITS:
            hint = _meant(self.token)
            if "'month'?" in hint:
                hint += " (which is for 'fixed-window: N/month' only)"
            raise self._error(f"{self.token!r} is not a unit of time; {hint}")
        unit = UNITS[self.token]
        self._advance()
        return unit

    def _burst(self, algorithm: str) -> int | None:
        if self.kind != "word" or self.token != "burst":
            return None
        if algorithm != "token-bucket":
            raise self._error(f"only a token bucket has a burst: write 'token-bucket: {self.text.strip()}'")
        self._advance()
        return self._number("the burst")

    def _build(self, position: int, make: Callable[[], Limit]) -> Limit:
        try:
            return make()
        except QuotaError as error:
            reason = str(error).rsplit(" [", 1)[0]
            raise self._error(reason, position) from error

    def _take(self, token: str) -> bool:
        if self.token != token:
            return False
        self._advance()
        return True

    def _advance(self) -> None:
        match = _TOKEN.match(self.text, self.at, self.end)
        if match is None:
            self.kind, self.token, self.position = "", "", self.end
            return
        self.kind = match.lastgroup or ""
        self.token = match.group(self.kind)
        self.position = match.start(self.kind)
        self.at = match.end()

    def _find(self, word: str, start: int) -> int:
        return self.text.index(word, start, self.end)

    def _error(self, reason: str, position: int | None = None) -> QuotaError:
        at = self.position if position is None else position
        shown = self.text.translate(dict.fromkeys(range(32), " "))
        return QuotaError(
            f"cannot read the limit {self.text!r} at position {at}:\n    {shown}\n    {' ' * at}^ {reason}"
        )
