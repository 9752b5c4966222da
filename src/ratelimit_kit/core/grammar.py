"""The text form of limits: one grammar for the whole text, which rejects anything unknown and shows where.

    limits = limit *( ( ";" | "," ) limit )
    limit  = "unlimited" | [ algorithm ":" ] N ( "/" | "per" ) [ k ] unit *option
    option = "burst" B | "resolution" R | zone | "anchor" ( day | date )

Algorithms: sliding-window (the default), token-bucket, fixed-window. Units: us, ms, s sec second(s),
m min minute(s), h hour(s), d day(s), w week(s), and month, quarter, year for a fixed window. A bucket has a burst, a sliding
window a resolution, a fixed window a time zone (an IANA name) and an anchor. Case does not matter.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

from ratelimit_kit.core.durations import CALENDAR, MAX_SPAN, SPANS, UNITS, no_span, quoted
from ratelimit_kit.core.fixed_window import FixedWindow, time_zone
from ratelimit_kit.core.limit import UNLIMITED, Limit, Unlimited
from ratelimit_kit.core.sliding_window import SlidingWindow
from ratelimit_kit.core.token_bucket import TokenBucket
from ratelimit_kit.core.validation import alike, nearest
from ratelimit_kit.errors import QuotaError

ALGORITHMS = {"sliding-window": SlidingWindow, "token-bucket": TokenBucket, "fixed-window": FixedWindow}

_OPTIONS = {
    "burst": ("token-bucket", "a token bucket has a burst"),
    "resolution": ("sliding-window", "a sliding window has a resolution"),
    "anchor": ("fixed-window", "a fixed window has an anchor"),
}
"""The options that have a name, and whose they are."""

_TOKEN = re.compile(r"\s*(?:(?P<number>\d+)|(?P<word>[A-Za-z][A-Za-z-]*)|(?P<mark>[/:])|(?P<other>\S))", re.ASCII)
_ZONE = re.compile(r"[A-Za-z][\w+-]*(?:/[\w+-]+)*", re.ASCII)
_ANCHOR = re.compile(r"\d{4}-\d\d-\d\d|\d{1,2}(?![\d-])", re.ASCII)

_MAX_LENGTH = 1000
"""Maximum length of the text of limits: it may come from a config file or a database, and errors quote it."""

_MAX_DIGITS = 15
"""Maximum number of digits: no limit is above 2**40."""

_EXAMPLE = "for example '100/minute' or 'token-bucket: 10/second burst 50'"


def parse(text: str) -> tuple[Limit | Unlimited, ...]:
    """Read one or several limits, separated by `;` or `,`, from text.

    Raises QuotaError, which shows the position of the mistake and the nearest valid spelling.
    """
    if not isinstance(text, str):
        hint = "give several limits one by one" if isinstance(text, list | tuple) else _EXAMPLE
        raise QuotaError(f"a limit must be text, got {quoted(text)}: {hint}")
    if len(text) > _MAX_LENGTH:
        raise QuotaError(f"the text of a limit may have {_MAX_LENGTH} characters, got {len(text)}: {_EXAMPLE}")
    limits = []
    start = 0
    for part in re.split("[;,]", text):
        limits.append(_Reader(text, start, start + len(part)).limit())
        start += len(part) + 1
    return tuple(limits)


def read_limits(limits: Iterable[str | Limit | Unlimited], *, inherit: bool = True) -> tuple[Limit, ...]:
    """Limits from text and values, in order, without UNLIMITED; raises QuotaError if there is none or a duplicate.

    Each counts in a counter of its own: of limits that would share one, the second is told from the first. Without
    `inherit` a counter is that of its number, and a changed number begins a new one.
    """
    given: list[Limit | Unlimited] = []
    for limit in limits:
        if isinstance(limit, Limit | Unlimited):
            given.append(limit)
        else:
            given.extend(parse(limit))
    if not given:
        raise QuotaError("no limit was given. For example: '100/minute'")
    read = [limit for limit in given if isinstance(limit, Limit)]
    counters: dict[str, int] = {}
    for index, limit in enumerate(read):
        if read.count(limit) > 1:
            raise QuotaError(f"the limit {limit} is given twice: each hit would be counted twice. Remove one")
        counter = limit.counter if inherit else limit.id
        number = counters[counter] = counters.get(counter, 0) + 1
        if number > 1 or not inherit:
            read[index] = limit.counted_in(counter if number == 1 else f"{counter}#{number}")
    return tuple(read)


def _meant(word: str) -> str:
    """A suggestion for an unknown unit; "month" by its beginning, because `m` is close to everything."""
    if word.lower().startswith(("mo", "mn", "mt")) and alike(word.lower(), ["minute", "minutes"], 0.7) is None:
        return "did you mean 'month'?"
    hint = nearest(word, UNITS)
    return hint if hint.startswith("did") else nearest("", [*SPANS, *CALENDAR])


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

    def limit(self) -> Limit | Unlimited:
        if self._take("unlimited"):
            self._end()
            return UNLIMITED
        algorithm = self._algorithm()
        position = self.position
        limit = self._number("the limit", least=0)
        if not self._take("/") and not self._take("per"):
            thousands = re.compile(r"\d{1,3}(,\d{3})+\b", re.ASCII).match(self.text, position)
            hint = f"write {thousands[0].replace(',', '')}" if thousands else _EXAMPLE
            raise self._error(f"expected '/' or 'per' after {limit}; {hint}")
        count_at = self.position
        count = self._number("the count of units") if self.kind == "number" else 1
        unit_at = self.position
        unit = self._unit()
        options = self._options(algorithm)
        self._end()
        if algorithm == "fixed-window":
            if count != 1:
                raise self._error(
                    "a fixed window is one calendar unit: write minute, hour, day, week, month, quarter or year",
                    count_at,
                )
            return self._build(position, lambda: FixedWindow(limit, unit, **options))
        if unit in CALENDAR:
            raise self._error(no_span(unit), unit_at)
        span = count * SPANS[unit]
        if span > MAX_SPAN:
            raise self._error("a span may be at most ten years", count_at)
        return self._build(position, lambda: ALGORITHMS[algorithm](limit, f"{span} us", **options))

    def _algorithm(self) -> str:
        if self.kind != "word":
            return "sliding-window"
        if self.token in _OPTIONS:
            raise self._error(f"{self.token!r} belongs to a limit: write it after the unit, without a comma")
        if self.token not in ALGORITHMS:
            raise self._error(f"{self.token!r} is not an algorithm; {nearest(self.token, ALGORITHMS)}")
        name = self.token
        self._advance()
        if not self._take(":"):
            raise self._error(f"expected ':' after {name}")
        return name

    def _number(self, what: str, least: int = 1) -> int:
        if self.kind != "number":
            found = repr(self.token) if self.token else "the end"
            raise self._error(f"expected {what}, a whole number, but found {found}; {_EXAMPLE}")
        if len(self.token) > _MAX_DIGITS:
            raise self._error(f"{what} is above 2**40")
        value = int(self.token)
        if value < least:
            raise self._error(f"{what} must be {least} or more")
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

    def _options(self, algorithm: str) -> dict[str, Any]:
        """What stands behind the unit, by the names of the constructor's options."""
        options: dict[str, Any] = {}
        while self.kind == "word":
            name = self.token if self.token in _OPTIONS else "tz"
            if name in options or (name == "tz" and algorithm != "fixed-window"):
                break
            owner, whose = _OPTIONS.get(name, ("fixed-window", ""))
            if owner != algorithm:
                raise self._error(f"only {whose}: write '{owner}: {self.text.strip()}'")
            if name == "tz":
                options[name] = self._zone()
                continue
            self._advance()
            options[name] = (
                self._matched(_ANCHOR, "a day or a date") if name == "anchor" else self._number(f"the {name}", least=0)
            )
        return options

    def _zone(self) -> str:
        """The name of a time zone; capital letters as this machine writes them."""
        at = self.position
        zone = self._matched(_ZONE, "a time zone")
        try:
            time_zone(zone)
        except QuotaError:
            from zoneinfo import available_timezones  # the list takes time

            known = available_timezones()
            found = {name.lower(): name for name in known}.get(zone.lower())
            if found is None:
                raise self._error(
                    f"{zone!r} is not a time zone that this machine knows; {nearest(zone, known)}", at
                ) from None
            return found
        return zone

    def _matched(self, pattern: re.Pattern[str], what: str) -> str:
        match = pattern.match(self.text, self.position, self.end)
        if match is None:
            raise self._error(f"expected {what} but found {self.token!r}")
        self.at = match.end()
        self._advance()
        return match.group()

    def _end(self) -> None:
        if self.token:
            hint = ": several limits are separated by ';' or ','" if self.token in {"and", "|"} else ""
            raise self._error(f"{self.token!r} is not expected here{hint}")

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
        self.token = match.group(self.kind).lower()
        self.position = match.start(self.kind)
        self.at = match.end()

    def _error(self, reason: str, position: int | None = None) -> QuotaError:
        at = self.position if position is None else position
        shown = self.text.translate(dict.fromkeys(range(32), " "))
        return QuotaError(
            f"cannot read the limit {self.text!r} at position {at}:\n    {shown}\n    {' ' * at}^ {reason}"
        )
