"""One connection of an event loop over which batches of decisions travel, several at a time.

Replies come in the order of the questions. An error goes to the callers whose answer is lost with it, and nothing is
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
"""Batches under way, so that the server need not wait for this process."""

Call = tuple[Sequence[str], Sequence[Charge], "asyncio.Future[Decision]", float]
"""Keys, charges, who waits, and since when."""


class Batch:
    """Calls that travel together, what is sent with their keys, and until when (the loop's time) a reply is awaited."""

    __slots__ = ("arguments", "by_name", "calls", "deadline", "late")

    def __init__(self, calls: Sequence[Call], arguments: PackedArguments, deadline: float) -> None:
        self.calls = calls
        self.arguments = arguments
        self.deadline = deadline
        self.late = False
        self.by_name = True

    def encode(self, script: Script) -> bytes:
        """The one script call for them all."""
        keys = [key for call in self.calls for key in call[0]]
        if len(self.calls) == 1:
            return encode_call(script, keys, self.arguments, by_name=self.by_name)
        return encode_call(script, keys, self.arguments, many=len(self.calls[0][0]), by_name=self.by_name)

    def succeed(self, reply: Any) -> None:
        """Give each caller their part of the reply."""
        _, found = decisions(self.calls[0][1], reply)
        for (_, _, future, _), decision in zip(self.calls, found, strict=True):
            if not future.done():
                future.set_result(decision)

    def fail(self, error: Callable[[], Exception]) -> None:
        """Tell every caller, each with an error of their own."""
        for _, _, future, _ in self.calls:
            if not future.done():
                future.set_exception(error())


class Owner(Protocol):
    """Who makes the batches."""

    def on_reply(self, batch: Batch, *, idle: bool) -> None:
        """Hear that a batch was answered; `idle` when none is under way any more."""

    def on_lost(self, connection: Any) -> None:
        """Hear that a connection of redis-py's is lost, and has to be let go."""


class Pipeline:
    """The connection of one event loop, from redis-py's `library_pool`; the batches come from `owner`."""

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
        """Seconds until a reply must have come."""
        return self.failures.timeout

    @property
    def connected(self) -> bool:
        """Whether there is a connection; it may have ended."""
        return self._protocol is not None

    @property
    def idle(self) -> bool:
        """Whether no reply is awaited."""
        return not self._under_way

    def has_room(self, batches: int) -> bool:
        """Whether one more batch than these may be sent now."""
        return len(self._under_way) + batches < MAX_BATCHES

    def stands(self) -> bool:
        """Whether there is a connection that can be used; one that has ended is given up."""
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
        """Give a connection back to its pool, which opens it again for the next."""
        await connection.disconnect(nowait=True)
        await self._library_pool.release(connection)

    def send(self, batches: Sequence[Batch]) -> None:
        """Send batches in one write; never waits."""
        if batches and self._protocol is not None:
            self._under_way.extend(batches)
            self._protocol.send(b"".join([batch.encode(self._script) for batch in batches]))
            self._watch_deadline()

    def close(self) -> None:
        """End the connection; who is under way hears of it."""
        if self._protocol is not None:
            self._on_lost(self._protocol, ConnectionLost("the store was closed"))

    def _on_reply(self, reply: Any) -> None:
        """The oldest batch is answered, or has to be sent once more."""
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
        """What is under way is lost: nobody knows what was charged."""
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
        """The server has said that it ran nothing."""
        assert self._protocol is not None
        self._under_way.append(batch)
        self._protocol.send(batch.encode(self._script))

    def _watch_deadline(self) -> None:
        """See to the deadline of the oldest batch: one timer, whatever the number of batches meanwhile."""
        if self._timer is None and self._under_way:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_at(self._under_way[0].deadline, self._check_deadline)

    def _check_deadline(self) -> None:
        """Give up a connection that was silent for too long; a loop that comes late itself looks once more."""
        self._timer = None
        if not self._under_way:
            return
        oldest, now = self._under_way[0], asyncio.get_running_loop().time()
        if now > oldest.deadline + LATE_SECONDS and not oldest.late:
            oldest.late, oldest.deadline = True, now + self.timeout
        if now >= oldest.deadline and self._protocol is not None:
            self._on_lost(self._protocol, TimeoutError())
        self._watch_deadline()
