"""A reader of Redis replies, for the kinds that this library's commands get: numbers, bytes, texts, errors and nothing.

The protocol is RESP2: https://redis.io/docs/latest/develop/reference/protocol-spec/. What is not a reply of these kinds
is an InvalidReply at its first byte that shows it: on such a connection nothing can be believed any more.
"""

from __future__ import annotations

from typing import Any, Final

from ratelimit_kit.stores.redis.driver import InvalidReply, error_of

NUMBER, BYTES, TEXT, ERROR = b":$+-"
"""The first bytes of the kinds of replies."""

MAX_LINE: Final = 64 * 1024
"""Bytes of the longest line; errors are the only lines that are not short."""

MAX_DIGITS: Final = 20
"""Digits of the longest number, a 64-bit one with its sign."""

_SHORT: Final = {b"$%d\r\n" % size: size for size in range(10, 100)}
"""The beginnings of most replies, and how many bytes follow."""

_SHORT_LENGTH: Final = 5
"""The length of such a beginning."""

Reply = int | bytes | str | None | Exception
"""A number, bytes, a text (such as OK), nothing, or the error that the server reports; an error is returned, not raised."""


def parse(data: bytes, at: int = 0) -> tuple[Reply, int] | None:
    """The reply that begins at a place in `data`, and where the next one begins; None if it is not complete yet."""
    begin = at + _SHORT_LENGTH
    size = _SHORT.get(data[at:begin])
    if size is not None and data[begin + size : begin + size + 2] == b"\r\n":
        return data[begin : begin + size], begin + size + 2
    end = data.find(b"\r\n", at)
    if end < 0 or end - at > MAX_LINE:
        _check_begun(data, at)
        return None
    kind = data[at]
    if kind == BYTES:
        digits = data[at + 1 : end]
        if digits.isdigit() and len(digits) < MAX_DIGITS:
            begin = end + 2
            last = begin + int(digits)
            if data[last : last + 2] == b"\r\n":
                return data[begin:last], last + 2
        return _no_bytes(data, at, end)
    if kind == NUMBER:
        return _number(data, at, end), end + 2
    text = data[at + 1 : end].decode("utf-8", "replace")
    if kind == ERROR:
        return error_of(text), end + 2
    if kind == TEXT:
        return text, end + 2
    raise _invalid(data, at)


def _no_bytes(data: bytes, at: int, end: int) -> tuple[None, int] | None:
    """What stands where bytes are announced and are not there: nothing at all, or too few yet."""
    size = _number(data, at, end)
    if size == -1:
        return None, end + 2
    if size < 0 or not b"\r\n".startswith(data[end + 2 + size : end + 4 + size]):
        raise _invalid(data, at)
    return None


def _number(data: bytes, at: int, end: int) -> int:
    digits = data[at + 1 : end]
    if not digits.removeprefix(b"-").isdigit() or len(digits) > MAX_DIGITS:
        raise _invalid(data, at)
    return int(digits)


def _check_begun(data: bytes, at: int) -> None:
    """Raise InvalidReply if a line that is not complete cannot become one."""
    if len(data) > at and (data[at] not in b":$+-" or len(data) - at > MAX_LINE):
        raise _invalid(data, at)


def _invalid(data: bytes, at: int) -> Any:
    return InvalidReply(f"the server sent {data[at : at + 40]!r}, which is not a Redis reply")
