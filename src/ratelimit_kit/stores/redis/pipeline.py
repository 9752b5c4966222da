"""An event loop's connection, over which several batches of decisions are in flight at the same time.

Replies come in the order of the requests. An error goes to all callers whose replies are lost with it, and nothing is
sent twice unless the server says that it ran nothing.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from time import monotonic
from typing import Any, Protocol

from ratelimit_kit.core.decision import Decision
from ratelimit_kit.stores import Charge
from ratelimit_kit.stores.redis.driver import ConnectionLost, NoScriptError, connection_of
from ratelimit_kit.stores.redis.failures import Failures, is_demoted
from ratelimit_kit.stores.redis.protocol import ReplyProtocol
from ratelimit_kit.stores.redis.replies import decisions, other_window
from ratelimit_kit.stores.redis.scripts import Arguments, PackedArguments, Script, encode_call
from ratelimit_kit.stores.redis.timeout import LATE_SECONDS, Deadline

MAX_BATCHES = 16
"""Maximum number of batches in flight; several keep the server from waiting for this process."""

Call = tuple[Sequence[str], Sequence[Charge], "asyncio.Future[Decision]", float]
"""Keys, charges, the future of the caller, and since when it waits (monotonic seconds)."""


class Batch:
    """Calls that travel together, the arguments sent with their keys, and the deadline in the loop's time."""

    __slots__ = ("arguments", "by_name", "calls", "deadline", "late")

    def __init__(self, calls: Sequence[Call], arguments: PackedArguments, deadline: float) -> None:
        self.calls = calls
        self.arguments = arguments
        self.deadline = deadline
        self.late = False
        self.by_name = True

    def encode(self, script: Script) -> bytes:
        """The single script call for all of them."""
        keys = [key for call in self.calls for key in call[0]]
        if len(self.calls) == 1:
            return encode_call(script, keys, self.arguments, by_name=self.by_name)
        return encode_call(script, keys, self.arguments, many=len(self.calls[0][0]), by_name=self.by_name)

    def succeed(self, reply: Any) -> None:
        """Give each caller its part of the reply."""
        _, found = decisions(self.calls[0][1], reply, many=len(self.calls) > 1)
        for (_, _, future, _), decision in zip(self.calls, found, strict=True):
            if not future.done():
                future.set_result(decision)

    def fail(self, error: Callable[[], Exception]) -> None:
        """Fail every call; a store error is an object of each one's own."""
        for _, _, future, _ in self.calls:
            if not future.done():
                future.set_exception(error())


class Owner(Protocol):
    """Builds the batches and is notified of their outcome."""

    def on_reply(self, batch: Batch, *, idle: bool) -> None:
        """Called after the reply to a batch; `idle` if no other batch is in flight."""

    def on_lost(self, connection: Any) -> None:
        """Called when a redis-py connection is lost and has to be released."""


class Pipeline:
    """The connection of one event loop, taken from redis-py's `library_pool`; `owner` builds the batches."""

    def __init__(
        self, library_pool: Any, script: Script, arguments: Arguments, failures: Failures, owner: Owner
    ) -> None:
        self.failures = failures
        self.connecting = False
        self.idle_since = 0.0
        self._library_pool = library_pool
        self._script = script
        self._arguments = arguments
        self._owner = owner
        self._under_way: deque[Batch] = deque()
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

    def send(self, batches: Sequence[Batch]) -> None:
        """Send batches in one write, without waiting."""
        if batches and self._protocol is not None:
            self._under_way.extend(batches)
            self._protocol.send(b"".join([batch.encode(self._script) for batch in batches]))
            self._watch_deadline()

    def close(self) -> None:
        """Close the connection; calls in flight get an error."""
        if self._protocol is not None:
            self._on_lost(self._protocol, ConnectionLost("the store was closed"))

    def _on_reply(self, reply: Any) -> None:
        """Resolve the oldest batch, or send it once more."""
        batch = self._under_way[0]
        if isinstance(reply, NoScriptError):
            batch.by_name = False
            self._send_again(batch)
        elif isinstance(reply, Exception):
            batch.fail(partial(self.failures.meaning, reply))
            if self._protocol is not None and is_demoted(reply):
                self._protocol.end()
        elif (moment := other_window(reply)) is not None:
            self._arguments.learn_calendar(moment)
            batch.arguments = self._arguments.decide(batch.calls[0][1])
            self._send_again(batch)
        else:
            batch.succeed(reply)
        self._under_way.popleft()
        if not self._under_way:
            self.idle_since = monotonic()
        self._owner.on_reply(batch, idle=not self._under_way)

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

    def _send_again(self, batch: Batch) -> None:
        """Send a batch again, after the server has said that it ran nothing."""
        assert self._protocol is not None
        self._under_way.append(batch)
        self._protocol.send(batch.encode(self._script))

    def _watch_deadline(self) -> None:
        """Watch the deadline of the oldest batch, with one timer whatever the number of batches."""
        if self._timer is None and self._under_way:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_at(self._under_way[0].deadline, self._check_deadline)

    def _check_deadline(self) -> None:
        """Give up a connection that was silent for too long; a loop that runs late itself grants one more wait."""
        self._timer = None
        if not self._under_way:
            return
        oldest, now = self._under_way[0], asyncio.get_running_loop().time()
        if now > oldest.deadline + LATE_SECONDS and not oldest.late:
            oldest.late, oldest.deadline = True, now + self.timeout
        if now >= oldest.deadline and self._protocol is not None:
            self._on_lost(self._protocol, TimeoutError())
        self._watch_deadline()
