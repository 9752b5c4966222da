"""Access logs in the common and the combined format, plain or gzip, from a file or standard input.

Nothing is dropped silently: a line that cannot be read becomes a Malformed with its number and the
reason. A line is never trusted: its content comes from whoever sent the request.
"""

from __future__ import annotations

import gzip
import io
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache
from pathlib import Path
from typing import IO, Final, NamedTuple

from ratelimit_kit.cli.terminal import progress
from ratelimit_kit.errors import OptionError
from ratelimit_kit.web.identity.address import parse_address

LONGEST: Final = 65_536
"""Maximum number of bytes in a line; the rest becomes a malformed line of its own."""

_LINE = re.compile(
    r'(?P<address>\S+) \S+ (?P<user>\S+) \[(?P<time>[^\]]{1,64})\] "(?P<request>[^"\\]*(?:\\.[^"\\]*)*)" (?P<status>\d{3}) \S+'
    r'(?: "(?P<referer>[^"\\]*(?:\\.[^"\\]*)*)" "(?P<agent>[^"\\]*(?:\\.[^"\\]*)*)")?(?: .*)?'
)
_TIME = re.compile(r"(\d{2})/([A-Z][a-z]{2})/(\d{4}):(\d{2}):(\d{2}):(\d{2}) ([+-])(\d{2})(\d{2})", re.ASCII)
_MONTHS = {"JanFebMarAprMayJunJulAugSepOctNovDec"[at : at + 3]: at // 3 + 1 for at in range(0, 36, 3)}


class Hit(NamedTuple):
    """One request of a log; `time` is in seconds since the epoch."""

    number: int
    time: int
    address: str
    user: str | None
    method: str
    path: str
    status: int
    referer: str
    agent: str


class Malformed(NamedTuple):
    """A line that is not a request of an access log."""

    number: int
    line: str
    reason: str


@lru_cache(maxsize=4096)
def seconds(text: str) -> int | None:
    """The seconds since the epoch for a time such as `10/Oct/2025:13:55:36 -0700`; None if it is not valid."""
    match = _TIME.fullmatch(text)
    if match is None or match[2] not in _MONTHS:
        return None
    offset = timedelta(hours=int(match[8]), minutes=int(match[9])) * (-1 if match[7] == "-" else 1)
    day, year, hour, minute, second = (int(match[group]) for group in (1, 3, 4, 5, 6))
    try:
        zone = timezone(offset)
        second = 59 if second == 60 else second  # a leap second
        return int(datetime(year, _MONTHS[match[2]], day, hour, minute, second, tzinfo=zone).timestamp())
    except ValueError:
        return None


@lru_cache(maxsize=65_536)
def is_address(text: str) -> bool:
    """Whether a line's first field is an address; cached, because the same ones recur."""
    return parse_address(text) is not None


def said(time: int) -> str:
    """A time as text, in UTC."""
    return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def read_line(number: int, line: str) -> Hit | Malformed:
    """Read one line of a log."""
    match = _LINE.fullmatch(line)
    if match is None:
        return Malformed(number, line, "not in the common or combined log format")
    time = seconds(match["time"])
    if time is None:
        return Malformed(number, line, "its time is not valid")
    if not is_address(match["address"]):
        return Malformed(number, line, "it does not begin with an address")
    method, _, rest = match["request"].partition(" ")
    path = rest.rpartition(" ")[0] or rest
    user = None if match["user"] in {"-", '""'} else match["user"]
    referer, agent = (match[name] or "" for name in ("referer", "agent"))
    status = int(match["status"])
    return Hit(
        number, time, match["address"], user, method, path.partition("?")[0], status, _field(referer), _field(agent)
    )


def _field(value: str) -> str:
    return "" if value == "-" else value


@contextmanager
def opened(name: str) -> Iterator[Iterator[Hit | Malformed]]:
    """The lines of a log, `-` for standard input; OptionError if it cannot be read."""
    if name == "-":
        with progress("reading standard input", None) as advance:
            yield _lines(sys.stdin.buffer, advance)
        return
    try:
        with Path(name).open("rb") as file, progress(f"replaying {name}", Path(name).stat().st_size) as advance:
            yield _lines(file, advance)
    except (OSError, EOFError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise OptionError(f"the log {name!r} cannot be read: {reason}") from None


def _lines(file: IO[bytes], advance: object) -> Iterator[Hit | Malformed]:
    assert callable(advance)
    counted = _Counted(file)
    buffered = io.BufferedReader(counted)
    zipped = buffered.peek(2)[:2] == b"\x1f\x8b"
    stream = gzip.GzipFile(fileobj=buffered) if zipped else buffered
    number = done = 0
    while line := stream.readline(LONGEST):
        number += 1
        if counted.bytes - done >= 1 << 16:
            advance(counted.bytes - done)
            done = counted.bytes
        text = line.decode("utf-8", "backslashreplace").removeprefix("\ufeff").rstrip("\r\n")
        if text:
            yield read_line(number, text)
    advance(counted.bytes - done)


class _Counted(io.RawIOBase):
    """A file that counts the bytes read from it: progress is in bytes of the file, compressed or not."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.bytes = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        self.bytes += len(data)
        return len(data)
