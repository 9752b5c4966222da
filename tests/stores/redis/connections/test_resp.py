"""What the reader of replies takes for a reply, what it waits for, and what it refuses at once."""

from __future__ import annotations

from typing import Any

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from ratelimit_kit.stores.redis.connections.resp import MAX_LINE, parse

REPLIES = [
    (b":0\r\n", 0),
    (b":-9223372036854775808\r\n", -(2**63)),
    (b"$0\r\n\r\n", b""),
    (b"$4\r\n\r\n\r\n\r\n", b"\r\n\r\n"),
    (b"$-1\r\n", None),
    (b"+OK\r\n", "OK"),
    (b"+\r\n", ""),
]


@pytest.mark.parametrize(("data", "reply"), REPLIES)
def test_a_reply_is_found_wherever_it_stands_and_however_much_follows(data: bytes, reply: Any) -> None:
    assert parse(data) == (reply, len(data))
    assert parse(b":1\r\n" + data + b":2\r\n", 4) == (reply, 4 + len(data))
    for size in range(len(data)):
        assert parse(data[:size]) is None


def test_an_error_is_returned_by_its_kind() -> None:
    found = parse(b"-NOSCRIPT No matching script.\r\n")
    assert found is not None
    assert isinstance(found[0], redis.exceptions.NoScriptError)


@pytest.mark.parametrize(
    "data",
    [
        b"H",
        b"HTTP/1.1 400 Bad Request\r\n",
        b"*2\r\n:1\r\n:2\r\n",
        b"%1\r\n",
        b"\x00",
        b"\r\n",
        b":\r\n",
        b":12x\r\n",
        b":1_0\r\n",
        b":+1\r\n",
        b": 1\r\n",
        b":--1\r\n",
        b":" + b"9" * 5000 + b"\r\n",
        b"$abc\r\n",
        b"$-2\r\n",
        b"$3\r\nabcd\r\n",
        b"$3\r\nabc\rX",
        b"+" + b"a" * (MAX_LINE + 1),
    ],
)
def test_what_cannot_become_a_reply_is_refused_at_once(data: bytes) -> None:
    with pytest.raises(redis.InvalidResponse, match="the server sent"):
        parse(data)


@given(st.binary(max_size=40))
def test_of_any_bytes_the_reader_says_a_reply_more_or_no_reply(data: bytes) -> None:
    try:
        found = parse(data)
    except redis.InvalidResponse:
        return
    if found is not None:
        assert 3 <= found[1] <= len(data)
    else:
        assert not data or data[0] in b":$+-"
