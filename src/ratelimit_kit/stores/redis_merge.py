"""Decisions that tasks of one event loop ask for at the same time, sent to Redis together.

Calls made in one turn of the loop, of the same charges over any keys, travel as one script call, in
which each is decided by itself; calls of other charges follow in the same conversation. Answers come in
the order of the questions, so one connection carries them all, and several batches may be under way.

An error goes to the callers whose answer is lost with it, and nothing is sent twice unless the server
says that it ran nothing. Who was cancelled before his turn is not charged. A call that waits too long
for its turn was never sent: the store is contended then, and not away.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from time import monotonic
from typing import Any

from ratelimit_kit.core.decision import Decision
from ratelimit_kit.errors import StoreError
from ratelimit_kit.stores import Charge
from ratelimit_kit.stores.redis_deadline import Deadline
from ratelimit_kit.stores.redis_failures import Failures
from ratelimit_kit.stores.redis_library import FAILURES, NoScriptError, ResponseError
from ratelimit_kit.stores.redis_scripts import Arguments, Script, Words, call_of, decisions, other_window

MOST = 128
"""Calls that travel together at most: the server is with them for some 2 ms, and meanwhile this process sees to
others."""

AHEAD = 16
"""Batches under way at most, so that the server need not wait for this process."""

LINGER = 0.5
"""Seconds of quiet after which the connection goes back to its pool, which sees whether it still stands."""

FOREVER = float("inf")

Call = tuple[Sequence[str], Sequence[Charge], "asyncio.Future[Decision]", float]
"""Keys, charges, who waits, and since when."""


class _Batch:
    """Calls that travel together: the same limits and costs, each with keys of its own."""

    __slots__ = ("arguments", "by_name", "calls", "deadline")

    def __init__(self, calls: Sequence[Call], arguments: Words, deadline: float) -> None:
        self.calls = calls
        self.arguments = arguments
        self.deadline = deadline
        self.by_name = True

    def packed(self, script: Script) -> bytes:
        """The one script call for them all."""
        keys = [key for call in self.calls for key in call[0]]
        if len(self.calls) == 1:
            return call_of(script, keys, self.arguments, by_name=self.by_name)
        return call_of(script, keys, self.arguments, many=len(self.calls[0][0]), by_name=self.by_name)

    def answered(self, answer: Any) -> None:
        """Give each caller his part of the answer."""
        asked = (charges for _, charges, _, _ in self.calls)
        for (_, _, future, _), (_, decision) in zip(self.calls, decisions(asked, answer), strict=True):
            if not future.done():
                future.set_result(decision)

    def failed(self, error: Callable[[], StoreError]) -> None:
        """Tell every caller, each with an error of his own."""
        for _, _, future, _ in self.calls:
            if not future.done():
                future.set_exception(error())


class Merger:
    """The decisions of one event loop; `client` gives the connection that carries them."""

    def __init__(
        self,
        client: Any,
        script: Script,
        arguments: Arguments,
        timeout: float,
        failures: Failures,
    ) -> None:
        self.client = client
        self._pool = client.connection_pool
        self._script = script
        self._arguments = arguments
        self._timeout = timeout
        self._failures = failures
        self.loop = asyncio.get_running_loop()
        self._waiting: dict[Any, deque[Call]] = {}
        self._under_way: deque[_Batch] = deque()
        self._connection: Any = None
        self._quiet_since = FOREVER
        self._conversation: asyncio.Task[None] | None = None

    def ask(self, charges: Sequence[Charge], keys: Sequence[str]) -> asyncio.Future[Decision]:
        """The decision that is to come."""
        answer: asyncio.Future[Decision] = self.loop.create_future()
        if len(charges) == 1:
            _, limit, cost = charges[0]
            alike: tuple[Any, ...] = limit.id, cost
        else:
            alike = tuple([(limit.id, cost) for _, limit, cost in charges])
        calls = self._waiting.get(alike)
        if calls is None:
            calls = self._waiting[alike] = deque()
        calls.append((keys, charges, answer, monotonic()))
        if self._conversation is None:
            self._conversation = self.loop.create_task(self._converse())
        return answer

    async def _converse(self) -> None:
        """Send what waits and read what comes, until there is neither."""
        try:
            while self._waiting or self._under_way:
                try:
                    await self._go_on()
                except FAILURES as error:
                    await self._broken(error)
        except BaseException:  # the loop is being closed
            for batch in self._under_way:
                self._cancel(batch.calls)
            for calls in self._waiting.values():
                self._cancel(calls)
            self._under_way.clear()
            self._waiting.clear()
            raise
        finally:
            self._conversation = None
            self._quiet_since = monotonic()

    async def _go_on(self) -> None:
        batches: list[_Batch] = []
        while self._waiting and len(self._under_way) < AHEAD:
            batch = self._next()
            if batch is not None:
                self._under_way.append(batch)
                batches.append(batch)
        if batches:
            await self._send(batches)
        if self._under_way:
            await self._read(self._under_way[0])

    def _next(self) -> _Batch | None:
        """Calls of those that wait longest, without those that nobody waits for any more."""
        alike = next(iter(self._waiting))
        waiting = self._waiting.pop(alike)
        now = monotonic()
        calls: list[Call] = []
        while waiting and len(calls) < MOST:
            call = waiting.popleft()
            _, _, answer, asked = call
            if answer.done():
                continue
            if now > asked + self._timeout:
                answer.set_exception(self._failures.contended(1))
            else:
                calls.append(call)
        if waiting:
            self._waiting[alike] = waiting
        if not calls:
            return None
        return _Batch(calls, self._arguments.decide(calls[0][1]), self.loop.time() + self._timeout)

    async def _send(self, batches: Sequence[_Batch]) -> None:
        async with Deadline(self.loop, batches[0].deadline, self._timeout):
            if self._connection is not None and monotonic() > self._quiet_since + LINGER:
                await self._let_go()
            if self._connection is None:
                self._connection = await _connection_of(self._pool)
            self._quiet_since = FOREVER
            await self._connection.send_packed_command([batch.packed(self._script) for batch in batches])

    async def _read(self, batch: _Batch) -> None:
        try:
            async with Deadline(self.loop, batch.deadline, self._timeout):
                answer = await self._connection.read_response(disable_decoding=True)
        except NoScriptError:
            batch.by_name = False
            await self._send_again(batch)
        except ResponseError as error:
            self._under_way.popleft()
            batch.failed(partial(self._failures.meaning, error))
        else:
            if (moment := other_window(answer)) is not None:
                self._arguments.learn_calendar(moment)
                batch.arguments = self._arguments.decide(batch.calls[0][1])
                await self._send_again(batch)
            else:
                self._under_way.popleft()
                batch.answered(answer)

    async def _send_again(self, batch: _Batch) -> None:
        """The server has said that it ran nothing."""
        self._under_way.rotate(-1)
        await self._send([batch])

    async def _broken(self, error: BaseException) -> None:
        """What is under way is lost: nobody knows what was charged."""
        lost = list(self._under_way)
        self._under_way.clear()
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.disconnect(nowait=True)
            await self._pool.release(connection)
        for batch in lost:
            batch.failed(partial(self._failures.meaning, error))

    async def _let_go(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await self._pool.release(connection)

    @staticmethod
    def _cancel(calls: Sequence[Call] | deque[Call]) -> None:
        for _, _, answer, _ in calls:
            answer.cancel()


async def _connection_of(pool: Any) -> Any:
    """A connection that stands; redis-py before 5.3 wants to know for which command."""
    try:
        return await pool.get_connection()
    except TypeError:
        return await pool.get_connection("EVALSHA")
