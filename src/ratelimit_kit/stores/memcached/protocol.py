"""Memcached's text protocol, as far as it is needed here: requests as bytes, and readers of replies, without I/O.

A reader takes all that has been received since its request was sent. It returns what the reply says and the reply's
length in bytes, or None while part of it is missing; what cannot be the reply to its request is an InvalidReply.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from typing import Any

from ratelimit_kit.stores.memcached.commands import Found, Refused, Write

Reader = Callable[[bytes], tuple[dict[str, Any], int] | None]

STORED = b"STORED\r\n"
"""The reply to a single write that was made."""

MAX_LINE = 2048
"""The most bytes of a line: a key has up to 250, and a statistic or an error some 100."""

MAX_VALUE = 2**27
"""The most bytes of a value that is waited for; the largest item that Memcached can be set to hold is as large."""

MAX_RELATIVE_SECONDS = 30 * 86400
"""Seconds above which Memcached takes an expiry for a Unix timestamp."""

_VALUE = re.compile(rb"VALUE ([^ ]+) \d{1,10} (\d{1,10}) (\d{1,20})")
_DONE = {b"STORED": True, b"DELETED": True, b"EXISTS": False, b"NOT_FOUND": False, b"NOT_STORED": False}
_REFUSED = b"SERVER_ERROR "
"""How a refusal begins. ERROR and CLIENT_ERROR are replies to what is never sent, so what they belong to is not known."""


class InvalidReply(Exception):  # noqa: N818 - it is translated before anybody sees it
    """What came is no reply to what was sent, so that nothing after it on this connection can be trusted."""


def gets(keys: Sequence[str]) -> tuple[bytes, Reader]:
    """Read values with their tokens; the reply is a dict of Found by key, or of Refused."""
    return f"gets {' '.join(keys)}\r\n".encode(), lambda received: _read_values(received, keys)


def store(writes: Sequence[Write]) -> tuple[bytes, Reader]:
    """Make several writes; the reply is a dict of bool by key, or of Refused."""
    keys = [write.key for write in writes]
    return b"".join(map(stored, writes)), lambda received: _read_lines(received, keys)


def quick_value(received: bytes, request: bytes) -> Found | None:
    """The value of a reply to a `gets` of one key, if the reply is complete and has one; None if a reader has to look."""
    end = received.find(b"\r\n")
    words = received[:end].split(b" ")
    if len(words) != 5 or words[1] != request[5:-2] or words[0] != b"VALUE" or not received.endswith(b"\r\nEND\r\n"):
        return None
    _, _, _, size, token = words
    value = received[end + 2 : -7]
    return Found(value, token) if size.isdigit() and token.isdigit() and int(size) == len(value) else None


def version() -> tuple[bytes, Reader]:
    """Ask for the version of the server; the reply has it under `version`."""
    return b"version\r\n", _read_version


def stats() -> tuple[bytes, Reader]:
    """Ask for the statistics of the server; the reply is a dict of text by name."""
    return b"stats\r\n", _read_stats


def expiry(seconds: int) -> int:
    """The expiry for Memcached: seconds up to 30 days, beyond that a Unix timestamp."""
    return seconds if seconds <= MAX_RELATIVE_SECONDS else int(time.time()) + seconds


def stored(write: Write) -> bytes:
    """The command for a write."""
    key, value, found, seconds = write
    name = key.encode()
    if value is None:
        return b"delete %b\r\n" % name
    if found is None:
        return b"add %b 0 %d %d\r\n%b\r\n" % (name, expiry(seconds), len(value), value)
    return b"cas %b 0 %d %d %b\r\n%b\r\n" % (name, expiry(seconds), len(value), found.token, value)


def _line(received: bytes, start: int) -> tuple[bytes, int] | None:
    """The line that begins at `start`, and where the next one begins."""
    end = received.find(b"\r\n", start)
    if end < 0:
        if len(received) - start > MAX_LINE:
            raise InvalidReply(_shown(received[start:]))
        return None
    return received[start:end], end + 2


def _read_values(received: bytes, keys: Sequence[str]) -> tuple[dict[str, Any], int] | None:
    found: dict[str, Any] = {}
    place = 0
    while True:
        part = _line(received, place)
        if part is None:
            return None
        line, place = part
        if line == b"END":
            return found, place
        if line.startswith(_REFUSED):
            return dict.fromkeys(keys, Refused(_text(line))), place
        head = _VALUE.fullmatch(line)
        key = _text(head[1]) if head else ""
        if head is None or key not in keys or key in found or int(head[2]) > MAX_VALUE:
            raise InvalidReply(_shown(line))
        end = place + int(head[2])
        if len(received) < end + 2:
            return None
        if received[end : end + 2] != b"\r\n":
            raise InvalidReply(_shown(received[end:]))
        found[key] = Found(received[place:end], head[3])
        place = end + 2


def _read_lines(received: bytes, keys: Sequence[str]) -> tuple[dict[str, Any], int] | None:
    done: dict[str, Any] = {}
    place = 0
    for key in keys:
        part = _line(received, place)
        if part is None:
            return None
        line, place = part
        if line in _DONE:
            done[key] = _DONE[line]
        elif line.startswith(_REFUSED):
            done[key] = Refused(_text(line))
        else:
            raise InvalidReply(_shown(line))
    return done, place


def _read_version(received: bytes) -> tuple[dict[str, Any], int] | None:
    part = _line(received, 0)
    if part is None:
        return None
    line, place = part
    word, _, number = _text(line).partition(" ")
    if word != "VERSION":
        raise InvalidReply(_shown(line))
    return {"version": number}, place


def _read_stats(received: bytes) -> tuple[dict[str, Any], int] | None:
    found: dict[str, Any] = {}
    place = 0
    while True:
        part = _line(received, place)
        if part is None:
            return None
        line, place = part
        if line == b"END":
            return found, place
        word, _, rest = _text(line).partition(" ")
        if word != "STAT":
            raise InvalidReply(_shown(line))
        name, _, value = rest.partition(" ")
        found[name] = value


def _text(line: bytes) -> str:
    return line.decode("ascii", "replace")


def _shown(received: bytes) -> str:
    return repr(received[:60])[1:]
