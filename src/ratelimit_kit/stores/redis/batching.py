"""Batching: decisions that tasks of one event loop request at the same time are sent to Redis together.

Calls made in one iteration of the loop, with the same limits and costs but any keys, travel as one script call, which
decides each independently; calls with other charges follow in the same write. `pipeline.py` sends the batches.

A task that was cancelled before its batch was built is not charged. A call that has waited too long to be sent is
dropped unsent, and the error is that the store is contended, not unavailable.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Coroutine, Sequence
from time import monotonic
from typing import Any

from ratelimit_kit.core.decision import Decision
from ratelimit_kit.stores import Charge
from ratelimit_kit.stores.redis.failures import Failures
from ratelimit_kit.stores.redis.pipeline import Batch, Call, Pipeline
from ratelimit_kit.stores.redis.scripts import Arguments, Script

MAX_BATCH_SIZE = 128
"""Maximum number of calls in a batch: the server is busy with it for some 0.3 ms, while this process handles others."""

MIN_SPLIT_SIZE = 16
"""Calls worth splitting over two script calls, so that the server and this process work at the same time."""

MAX_IDLE_SECONDS = 0.5
"""After a longer pause, the loop first checks whether the server has closed the connection."""


class Batcher:
    """Batches the decisions of one event loop; they travel over a connection of `client`."""

    def __init__(self, client: Any, script: Script, arguments: Arguments, failures: Failures) -> None:
        self.client = client
        self.loop = asyncio.get_running_loop()
        self._arguments = arguments
        self._pipeline = Pipeline(client.connection_pool, script, arguments, failures, self)
        self._waiting: dict[Any, deque[Call]] = {}
        self._flush_scheduled = False
        self._waiting_since = 0.0
        self._early_flush_at = 0
        self._tasks: set[asyncio.Task[None]] = set()

    def decide(self, charges: Sequence[Charge], keys: Sequence[str]) -> asyncio.Future[Decision]:
        """Queue a call and return a future for its decision."""
        decision: asyncio.Future[Decision] = asyncio.Future(loop=self.loop)
        if len(charges) == 1:
            _, limit, cost = charges[0]
            alike: tuple[Any, ...] = limit.id, cost
        else:
            alike = tuple([(limit.id, cost) for _, limit, cost in charges])
        calls = self._waiting.get(alike)
        if calls is None:
            calls = self._waiting[alike] = deque()
        if not self._flush_scheduled:
            self._schedule_flush()
        calls.append((keys, charges, decision, self._waiting_since))
        if len(calls) == self._early_flush_at and self._pipeline.connected:
            self._early_flush_at = 0  # half of the callers of the last batch have asked again, and the server is idle
            self._send()
        return decision

    def on_reply(self, batch: Batch, *, idle: bool) -> None:
        """Schedule the waiting calls after the reply to a batch; `idle` if no other batch is in flight."""
        self._schedule_flush()
        if idle and len(batch.calls) >= MIN_SPLIT_SIZE:
            self._early_flush_at = len(batch.calls) // 2
            self.loop.call_soon(self._forget_early_flush)  # after the callers that have just got their decisions

    def on_lost(self, connection: Any) -> None:
        """Release a connection that was lost, and schedule the waiting calls."""
        self._run(self._pipeline.let_go(connection))
        self._schedule_flush()

    def _flush(self) -> None:
        """Send the calls of one iteration of the loop."""
        self._flush_scheduled = False
        pipeline = self._pipeline
        if not pipeline.stands():
            if not pipeline.connecting:
                pipeline.connecting = True
                self._run(self._connect())
        elif pipeline.idle and monotonic() > pipeline.idle_since + MAX_IDLE_SECONDS:
            pipeline.idle_since = monotonic()
            self._schedule_flush()  # if the server has closed the connection, that is noticed first
        else:
            self._send()

    def _schedule_flush(self) -> None:
        if self._waiting and not self._flush_scheduled:
            self._flush_scheduled = True
            self._waiting_since = monotonic()
            self.loop.call_soon(self._flush)

    def _forget_early_flush(self) -> None:
        self._early_flush_at = 0

    def _send(self) -> None:
        batches: list[Batch] = []
        while self._waiting and self._pipeline.has_room(len(batches)):
            batch = self._next_batch()
            if batch is not None:
                batches.append(batch)
        self._pipeline.send(batches)

    def _next_batch(self) -> Batch | None:
        """A batch of the calls that have waited longest, without those that were cancelled; None if none is left."""
        alike = next(iter(self._waiting))
        waiting = self._waiting.pop(alike)
        calls: list[Call] = []
        oldest = monotonic() - self._pipeline.timeout
        while waiting and len(calls) < MAX_BATCH_SIZE:
            call = waiting.popleft()
            _, _, decision, asked_at = call
            if decision.done():
                continue
            if asked_at < oldest:
                decision.set_exception(self._pipeline.failures.contended(1))
            else:
                calls.append(call)
        if waiting:
            self._waiting[alike] = waiting
        if not calls:
            return None
        try:
            arguments = self._arguments.decide(calls[0][1])
        except Exception as error:  # noqa: BLE001 - a mistake, of which those who wait hear
            for _, _, decision, _ in calls:
                decision.set_exception(error)
            return None
        return Batch(calls, arguments, self.loop.time() + self._pipeline.timeout)

    async def _connect(self) -> None:
        """Open a connection and send the waiting calls; on failure, all of them get the error."""
        try:
            await self._pipeline.connect()
            self._send()
        except Exception as error:  # noqa: BLE001 - whatever it is, the waiting calls get it
            for decision in self._take_back():
                decision.set_exception(self._pipeline.failures.told(error))
        except BaseException:  # the loop is being closed
            for decision in self._take_back():
                decision.cancel()
            raise
        finally:
            self._pipeline.connecting = False

    def _take_back(self) -> list[asyncio.Future[Decision]]:
        """Empty the queue and return its pending futures."""
        waiting, self._waiting = self._waiting, {}
        return [decision for calls in waiting.values() for _, _, decision, _ in calls if not decision.done()]

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def aclose(self) -> None:
        """Close the connection; calls in flight get an error."""
        self._pipeline.close()
        await asyncio.gather(*self._tasks, return_exceptions=True)
