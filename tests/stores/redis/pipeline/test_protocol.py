"""Replies are parsed correctly however the network splits them."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from ratelimit_kit.stores.redis.driver import NoScriptError
from ratelimit_kit.stores.redis.pipeline.protocol import ReplyProtocol

ANSWERS = st.lists(st.one_of(st.integers(-(2**53), 2**53), st.binary(max_size=80)), max_size=12)


class Transport:
    """The few transport methods that ReplyProtocol uses."""

    def __init__(self) -> None:
        self.protocol: Any = asyncio.Protocol()

    def get_protocol(self) -> Any:
        return self.protocol

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol


def wire() -> tuple[ReplyProtocol, list[Any], list[Any]]:
    heard: list[Any] = []
    lost: list[Any] = []
    connection = SimpleNamespace(_writer=SimpleNamespace(transport=Transport()))
    return ReplyProtocol(connection, heard.append, lambda _, error: lost.append(error)), heard, lost


def written(answer: int | bytes) -> bytes:
    return b":%d\r\n" % answer if isinstance(answer, int) else b"$%d\r\n%b\r\n" % (len(answer), answer)


@given(ANSWERS, st.lists(st.integers(1, 40)))
def test_answers_come_whole_and_in_order(answers: list[int | bytes], cuts: list[int]) -> None:
    protocol, heard, _ = wire()
    data = b"".join(map(written, answers))
    for cut in [*cuts, len(data)]:
        if data[:cut]:
            protocol.data_received(data[:cut])
        data = data[cut:]
    assert heard == answers


def test_an_error_is_an_answer_and_no_end() -> None:
    protocol, heard, lost = wire()
    protocol.data_received(b"-NOSCRIPT No matching script.\r\n-ERR user_script:1: boom\r\n:7\r\n")
    assert isinstance(heard[0], NoScriptError)
    assert isinstance(heard[1], redis.ResponseError)
    assert "boom" in str(heard[1])
    assert heard[2] == 7
    assert not lost


@pytest.mark.parametrize("garbage", [b"HTTP/1.1 400 Bad Request\r\n", b"*1\r\n:1\r\n", b":1x\r\n", b"$2\r\nabc\r\n"])
def test_what_is_not_a_reply_ends_the_connection_after_the_replies_before_it(garbage: bytes) -> None:
    protocol, heard, lost = wire()
    protocol.data_received(b":7\r\n" + garbage + b":8\r\n")
    assert heard == [7]
    assert [type(error) for error in lost] == [redis.InvalidResponse]
    assert repr(garbage[:3])[:-1] in str(lost[0])


def test_the_end_is_told_with_its_reason() -> None:
    protocol, _, lost = wire()
    protocol.connection_lost(None)
    protocol.connection_lost(ConnectionResetError("reset by peer"))
    assert isinstance(lost[0], redis.ConnectionError)
    assert str(lost[1]) == "reset by peer"
