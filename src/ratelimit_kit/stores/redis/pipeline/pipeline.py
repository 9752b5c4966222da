"""An event loop's connection, over which several batches of decisions are in flight at the same time.

Replies come in the order of the requests. An error goes to all callers whose replies are lost with it, and nothing is
sent twice unless the server says that it ran nothing.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from functools import partial
from time import monotonic
from typing import Any, Protocol

from ratelimit_kit.stores.redis.driver import ConnectionLost, InvalidReply, NoScriptError, connection_of
from ratelimit_kit.stores.redis.failures import Failures, is_demoted
from ratelimit_kit.stores.redis.pipeline.exchange import Exchange
from ratelimit_kit.stores.redis.pipeline.protocol import ReplyProtocol
from ratelimit_kit.stores.redis.pipeline.timeout import LATE_SECONDS, Deadline

MAX_BATCHES = 16
"""Maximum number of batches in flight; several keep the server from waiting for this process."""


class Owner(Protocol):
    """Builds the batches and is notified of their outcome."""

    def on_reply(self, exchange: Exchange, *, idle: bool) -> None:
        """Called after the reply to a command; `idle` if no other one is in flight."""

    def on_lost(self, connection: Any) -> None:
        """Called when a redis-py connection is lost and has to be released."""


class Pipeline:
    """The connection of one event loop, taken from redis-py's `library_pool`; `owner` builds the batches."""

    def __init__(self, library_pool: Any, failures: Failures, owner: Owner) -> None:
        self.failures = failures
        self.connecting = False
        self.idle_since = 0.0
        self._library_pool = library_pool
        self._owner = owner
        self._under_way: deque[Exchange] = deque()
        self._protocol: ReplyProtocol | None = None
        self._timer: asyncio.TimerHandle | None = None

    @property
    def timeout(self) -> float:
        """Seconds within which a reply must arrive."""
        return self.failures.timeout

    @property
    def connected(self) -> bool:
        """Whether there is a connection; the server may have closed it."""
        return self._protocol is not None

    @property
    def idle(self) -> bool:
        """Whether no reply is awaited."""
        return not self._under_way

    def has_room(self, batches: int) -> bool:
        """Whether another batch may be sent after this many."""
        return len(self._under_way) + batches < MAX_BATCHES

    def stands(self) -> bool:
        """Whether there is a usable connection; one that was closed is given up."""
        if self._protocol is not None and self._protocol.ends:
            self._on_lost(self._protocol, ConnectionLost("the connection was closed"))
        return self._protocol is not None

    async def connect(self) -> None:
        """Open a connection within the deadline."""
        loop = asyncio.get_running_loop()
        async with Deadline(loop, loop.time() + self.timeout, self.timeout):
            connection = await connection_of(self._library_pool)
        self._protocol = ReplyProtocol(connection, self._on_reply, self._on_lost)
        self.idle_since = monotonic()

    async def let_go(self, connection: Any) -> None:
        """Return a connection, closed, to its pool, which reopens it for the next use."""
        await connection.disconnect(nowait=True)
        await self._library_pool.release(connection)

    def send(self, batches: Sequence[Exchange]) -> None:
        """Send batches in one write, without waiting."""
        if batches and self._protocol is not None:
            now = monotonic()
            for batch in batches:
                batch.sent = now
            self._write(batches)
            self._watch()

    def close(self) -> None:
        """Close the connection; calls in flight get an error."""
        if self._protocol is not None:
            self._on_lost(self._protocol, ConnectionLost("the store was closed"))

    def _on_reply(self, reply: Any) -> None:
        """Give the reply to the oldest exchange, or send that once more."""
        if not self._under_way:
            raise InvalidReply(f"the server sent {reply!r:.60} without being asked")
        exchange = self._under_way[0]
        if isinstance(reply, NoScriptError):
            exchange.by_name = False
            self._send_again(exchange, [exchange])
        elif isinstance(reply, Exception) and self.failures.is_about_one_key(reply) and (parts := exchange.parts()):
            self._send_again(exchange, parts)  # nothing was written, and the others' keys are sound
        elif isinstance(reply, Exception):
            exchange.fail(partial(self.failures.meaning, reply))
            if self._protocol is not None and is_demoted(reply):
                self._protocol.end()
        elif not exchange.succeed(reply):
            self._send_again(exchange, [exchange])
        self._under_way.popleft()
        if not self._under_way:
            self.idle_since = monotonic()
        self._owner.on_reply(exchange, idle=not self._under_way)

    def _on_lost(self, protocol: ReplyProtocol, error: Exception) -> None:
        """Fail all batches in flight: whether they were charged is unknown."""
        if protocol is not self._protocol:
            return
        self._protocol = None
        protocol.end()
        lost = list(self._under_way)
        self._under_way.clear()
        for batch in lost:
            batch.fail(partial(self.failures.told, error))
        self._owner.on_lost(protocol.connection)

    def _send_again(self, exchange: Exchange, parts: Sequence[Exchange]) -> None:
        """Send an exchange again, perhaps in parts, after the server has said that it ran nothing."""
        for part in parts:
            part.sent, part.late = exchange.sent, exchange.late
        self._write(parts)

    def _write(self, exchanges: Sequence[Exchange]) -> None:
        """Send what can be written; of a mistake in the rest those who wait for it hear."""
        assert self._protocol is not None
        packed = []
        for exchange in exchanges:
            try:
                packed.append(exchange.encode())
            except Exception as error:  # noqa: BLE001 - whatever it is
                exchange.fail(partial(self.failures.told, error))
            else:
                self._under_way.append(exchange)
        if packed:
            self._protocol.send(b"".join(packed))

    def _watch(self) -> None:
        """Come back when the first caller's deadline passes, or the server was silent for too long: with one timer."""
        if self._timer is None and self._under_way:
            first = min(self._under_way[0].sent, *[exchange.since for exchange in self._under_way])
            self._wake_at(first + self.timeout)

    def _wake_at(self, due: float) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(due - monotonic(), self._check_deadlines, due)

    def _check_deadlines(self, due: float) -> None:
        """Give up a connection that was silent for too long, and callers who have waited for too long.

        A loop that runs late itself looks once more, after as much time again: the replies may be there, unread.
        """
        self._timer = None
        if not self._under_way:
            return
        oldest, now = self._under_way[0], monotonic()
        if now > due + LATE_SECONDS and not oldest.late:
            for exchange in self._under_way:
                exchange.late = True
            self._wake_at(now + (now - due))
        elif now >= oldest.sent + self.timeout:
            assert self._protocol is not None
            self._on_lost(self._protocol, TimeoutError())
        else:
            for exchange in self._under_way:
                exchange.expire(now - self.timeout, self.failures.late)
        self._watch()
