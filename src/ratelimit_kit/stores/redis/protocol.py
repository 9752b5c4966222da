"""A connection to Redis that an event loop reads by itself: what comes is parsed where it arrives.

redis-py opens it and greets the server (login, TLS, database); then this protocol takes the transport over, and
gives it back by ending it. Only what script calls are answered in RESP2 is known here: whole numbers, bytes and errors.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from ratelimit_kit.stores.redis.driver import ConnectionLost, InvalidReply, error_of

NUMBER, BYTES, ERROR = b":$-"
"""How the answers begin that a script gives."""


class ReplyProtocol(asyncio.Protocol):
    """One connection; `on_reply` is given each reply, in the order of the questions, and `on_lost` hears of its end."""

    def __init__(
        self, connection: Any, on_reply: Callable[[Any], None], on_lost: Callable[[ReplyProtocol, Exception], None]
    ) -> None:
        self.connection = connection
        self._on_reply = on_reply
        self._on_lost = on_lost
        self._rest = b""
        self._transport: Any = connection._writer.transport  # noqa: SLF001 - it has no name of its own
        self._before: Any = self._transport.get_protocol()
        self._transport.set_protocol(self)

    @property
    def ends(self) -> bool:
        """Whether nothing can be sent any more."""
        return bool(self._transport.is_closing())

    def send(self, questions: bytes) -> None:
        """Send packed commands; never waits."""
        self._transport.write(questions)

    def end(self) -> None:
        """Let nothing more be heard."""
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Pass on every answer that is complete; an error is passed on, not raised."""
        if self._rest:
            data = self._rest + data
        at, size = 0, len(data)
        while at < size:
            end = data.find(b"\r\n", at)
            if end < 0:
                break
            kind, text, at_next = data[at], data[at + 1 : end], end + 2
            answer: Any
            if kind == NUMBER:
                answer = int(text)
            elif kind == BYTES:
                at_next += int(text) + 2
                if at_next > size:
                    break
                answer = data[end + 2 : at_next - 2]
            elif kind == ERROR:
                answer = error_of(text.decode("utf-8", "replace"))
            else:
                raise InvalidReply(f"Redis replied {data[at:end]!r} to a script")
            at = at_next
            self._on_reply(answer)
        self._rest = data[at:]

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell who asks, and redis-py, which may wait for the end."""
        self._before.connection_lost(exc)
        self._on_lost(self, exc or ConnectionLost("the server closed the connection"))
