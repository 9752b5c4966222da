"""An asyncio protocol for a connection to Redis, which parses replies as they arrive, without a reading task.

redis-py opens the connection and performs the handshake (TLS, login, database); then this protocol takes over the
transport, until it aborts it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from ratelimit_kit.stores.redis.connections.resp import parse
from ratelimit_kit.stores.redis.driver import ConnectionLost, InvalidReply


class ReplyProtocol(asyncio.Protocol):
    """One connection; `on_reply` gets each reply, in the order of the requests, and `on_lost` is called at its end."""

    def __init__(
        self, connection: Any, on_reply: Callable[[Any], None], on_lost: Callable[[ReplyProtocol, Exception], None]
    ) -> None:
        self.connection = connection
        self._on_reply = on_reply
        self._on_lost = on_lost
        self._rest = b""
        self._transport: Any = connection._writer.transport  # noqa: SLF001 - there is no public name
        self._before: Any = self._transport.get_protocol()
        self._transport.set_protocol(self)

    @property
    def ends(self) -> bool:
        """Whether the connection is closing, so that nothing more can be sent."""
        return bool(self._transport.is_closing())

    def send(self, questions: bytes) -> None:
        """Send packed commands, without waiting."""
        self._transport.write(questions)

    def end(self) -> None:
        """Abort the connection."""
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Pass on every complete reply; after what is not a reply, nothing on this connection is believed."""
        if self._rest:
            data = self._rest + data
        at, size = 0, len(data)
        try:
            while at < size:
                found = parse(data, at)
                if found is None:
                    break
                answer, at = found
                self._on_reply(answer)
        except InvalidReply as error:
            self._on_lost(self, error)
        self._rest = data[at:]

    def connection_lost(self, exc: Exception | None) -> None:
        """Notify the owner, and redis-py, which may be waiting for the end."""
        self._before.connection_lost(exc)
        self._on_lost(self, exc or ConnectionLost("the server closed the connection"))
