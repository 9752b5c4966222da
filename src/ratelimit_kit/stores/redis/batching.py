"""Decisions that tasks of one event loop ask for at the same time, sent to Redis together.

Calls made in one turn of the loop, of the same charges over any keys, travel as one script call, in
which each is decided by itself; calls of other charges follow at once. Answers come in the order of the
questions, so one connection carries them all, and several batches may be under way.

An error goes to the callers whose answer is lost with it, and nothing is sent twice unless the server
says that it ran nothing. Who was cancelled before his turn is not charged. A call that waits too long
for its turn was never sent: the store is contended then, and not away.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine, Sequence
from functools import partial
from time import monotonic
from typing import Any

from ratelimit_kit.core.decision import Decision
from ratelimit_kit.stores import Charge
from ratelimit_kit.stores.redis.batch import Batch, Call
from ratelimit_kit.stores.redis.driver import GONE, NoScriptError, connection_of
from ratelimit_kit.stores.redis.failures import Failures, is_demoted
from ratelimit_kit.stores.redis.protocol import Wire
from ratelimit_kit.stores.redis.replies import other_window
from ratelimit_kit.stores.redis.scripts import Arguments, Script
from ratelimit_kit.stores.redis.timeout import STALL, Deadline

MOST = 128
"""Calls that travel together at most: the server is with them for some 0.3 ms, and meanwhile this process sees to
others."""

AHEAD = 16
"""Batches under way at most, so that the server need not wait for this process."""

WORTH = 16
"""Calls that are worth two script calls, so that the server has something to do while this process has."""

LINGER = 0.5
"""Seconds of quiet after which the loop looks first whether the server has closed the connection."""


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
        self.loop = asyncio.get_running_loop()
        self._pool = client.connection_pool
        self._script = script
        self._arguments = arguments
        self._timeout = timeout
        self._failures = failures
        self._waiting: dict[Any, deque[Call]] = {}
        self._under_way: deque[Batch] = deque()
        self._wire: Wire | None = None
        self._quiet_since = 0.0
        self._comes = False
        self._since = 0.0
        self._half = 0
        self._timer: asyncio.TimerHandle | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def ask(self, charges: Sequence[Charge], keys: Sequence[str]) -> asyncio.Future[Decision]:
        """The decision that is to come."""
        answer: asyncio.Future[Decision] = asyncio.Future(loop=self.loop)
        if len(charges) == 1:
            _, limit, cost = charges[0]
            alike: tuple[Any, ...] = limit.id, cost
        else:
            alike = tuple([(limit.id, cost) for _, limit, cost in charges])
        calls = self._waiting.get(alike)
        if calls is None:
            calls = self._waiting[alike] = deque()
        if not self._comes:
            self._go_on()
        calls.append((keys, charges, answer, self._since))
        if len(calls) == self._half and self._wire is not None:
            self._half = 0  # the server is idle, and of those whom it has just answered half have asked again
            self._send(self._wire)
        return answer

    def _turn(self) -> None:
        """Send what was asked for in one turn of the loop."""
        self._comes = False
        wire = self._wire
        if wire is not None and wire.ends:
            self._lost(wire, GONE("the connection was closed"))
            wire = None
        if wire is None:
            self._connecting = self._connecting or self._run(self._connected())
        elif not self._under_way and monotonic() > self._quiet_since + LINGER:
            self._quiet_since = monotonic()
            self._go_on()  # an end that has come meanwhile is heard of before
        else:
            self._send(wire)

    def _go_on(self) -> None:
        """See to those who still wait."""
        if self._waiting and not self._comes:
            self._comes = True
            self._since = monotonic()
            self.loop.call_soon(self._turn)

    def _send(self, wire: Wire) -> None:
        commands = []
        while self._waiting and len(self._under_way) < AHEAD:
            batch = self._next()
            if batch is not None:
                self._under_way.append(batch)
                commands.append(batch.packed(self._script))
        if commands:
            wire.send(b"".join(commands))
            self._watch()

    def _next(self) -> Batch | None:
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
        return Batch(calls, self._arguments.decide(calls[0][1]), self.loop.time() + self._timeout)

    def _heard(self, answer: Any) -> None:
        """The oldest batch is answered, or has to be sent once more."""
        batch = self._under_way[0]
        if isinstance(answer, NoScriptError):
            batch.by_name = False
            self._send_again(batch)
        elif isinstance(answer, Exception):
            batch.failed(partial(self._failures.meaning, answer))
            if self._wire is not None and is_demoted(answer):
                self._wire.end()
        elif (moment := other_window(answer)) is not None:
            self._arguments.learn_calendar(moment)
            batch.arguments = self._arguments.decide(batch.calls[0][1])
            self._send_again(batch)
        else:
            batch.answered(answer)
        self._under_way.popleft()
        self._go_on()
        if not self._under_way:
            self._quiet_since = monotonic()
            if len(batch.calls) >= WORTH:
                self._half = len(batch.calls) // 2
                self.loop.call_soon(self._calm)  # after those who have just been answered

    def _calm(self) -> None:
        self._half = 0

    def _send_again(self, batch: Batch) -> None:
        """The server has said that it ran nothing."""
        assert self._wire is not None
        self._under_way.append(batch)
        self._wire.send(batch.packed(self._script))

    def _watch(self) -> None:
        """See to the deadline of the oldest batch: one timer, whatever the number of batches meanwhile."""
        if self._timer is None and self._under_way:
            self._timer = self.loop.call_at(self._under_way[0].deadline, self._look)

    def _look(self) -> None:
        """Give up a connection that was silent for too long; a loop that comes late itself looks once more."""
        self._timer = None
        if not self._under_way:
            return
        oldest, now = self._under_way[0], self.loop.time()
        if now > oldest.deadline + STALL and not oldest.late:
            oldest.late, oldest.deadline = True, now + self._timeout
        if now >= oldest.deadline and self._wire is not None:
            self._lost(self._wire, TimeoutError())
        self._watch()

    async def _connected(self) -> None:
        """Open a connection, and send what waits for it; if there is none, all of them hear why."""
        try:
            async with Deadline(self.loop, self.loop.time() + self._timeout, self._timeout):
                connection = await connection_of(self._pool)
            self._wire = Wire(connection, self._heard, self._lost)
            self._quiet_since = monotonic()
            self._send(self._wire)
        except Exception as error:  # noqa: BLE001 - whatever it is, those who wait hear of it
            for answer in self._take_back():
                answer.set_exception(self._failures.meaning(error))
        except BaseException:  # the loop is being closed
            for answer in self._take_back():
                answer.cancel()
            raise
        finally:
            self._connecting = None

    def _take_back(self) -> list[asyncio.Future[Decision]]:
        """Those who wait, and need not any more."""
        waiting, self._waiting = self._waiting, {}
        return [answer for calls in waiting.values() for _, _, answer, _ in calls if not answer.done()]

    def _lost(self, wire: Wire, error: Exception) -> None:
        """What is under way is lost: nobody knows what was charged."""
        if wire is not self._wire:
            return
        self._wire = None
        wire.end()
        self._run(self._let_go(wire.connection))
        lost = list(self._under_way)
        self._under_way.clear()
        for batch in lost:
            batch.failed(partial(self._failures.meaning, error))
        self._go_on()

    async def _let_go(self, connection: Any) -> None:
        """Back to its pool, which opens it again for the next."""
        await connection.disconnect(nowait=True)
        await self._pool.release(connection)

    def _run(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def aclose(self) -> None:
        """End the connection; who is under way hears of it."""
        if self._wire is not None:
            self._lost(self._wire, GONE("the store was closed"))
        await asyncio.gather(*self._tasks, return_exceptions=True)
