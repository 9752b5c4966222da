"""Batching: decisions that tasks of one event loop request at the same time are sent to Redis together.

Calls made in one iteration of the loop, with the same limits and costs but any keys, travel as one script call, which
decides each independently; calls with other charges follow in the same write. `pipeline.py` sends the batches.

A task that was cancelled before its batch was built is not charged. A call that has waited too long to be sent is
dropped unsent, and the error is that the store is contended, not unavailable.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from time import monotonic
from typing import Any

from ratelimit_kit.core.decision import Decision
from ratelimit_kit.stores import Charge
from ratelimit_kit.stores.redis.calls.library_calls import Read
from ratelimit_kit.stores.redis.calls.shapes import Shape
from ratelimit_kit.stores.redis.failures import Failures
from ratelimit_kit.stores.redis.pipeline.call_queue import CallQueue
from ratelimit_kit.stores.redis.pipeline.exchange import Batch, Exchange
from ratelimit_kit.stores.redis.pipeline.pipeline import Pipeline

MIN_SPLIT_SIZE = 16
"""Calls worth splitting over two script calls, so that the server and this process work at the same time."""

MAX_IDLE_SECONDS = 0.5
"""After a longer pause, the loop first checks whether the server has closed the connection."""


class Batcher:
    """Sends the calls of one event loop over a connection of `client`."""

    def __init__(self, client: Any, failures: Failures) -> None:
        self.client = client
        self.loop = asyncio.get_running_loop()
        self._pipeline = Pipeline(client.connection_pool, failures, self)
        self._queue = CallQueue(self.loop, failures)
        self._flush_scheduled = False
        self._waiting_since = 0.0
        self._early_flush_at = 0
        self._expiry: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def decide(self, shape: Shape, charges: Sequence[Charge]) -> asyncio.Future[Decision]:
        """Queue a call and return a future for its decision."""
        if not self._flush_scheduled:
            self._schedule_flush()
        decision, alike = self._queue.add(shape, charges, self._waiting_since)
        if alike == self._early_flush_at and self._pipeline.connected:
            self._early_flush_at = 0  # half of the callers of the last batch have asked again, and the server is idle
            self._send()
        return decision

    def call(self, packed: Callable[..., bytes], read: Read) -> asyncio.Future[Any]:
        """Queue a command, `packed(by_name=...)`, and return a future for what is read from its reply."""
        if not self._flush_scheduled:
            self._schedule_flush()
        return self._queue.add_command(packed, read)

    def on_reply(self, exchange: Exchange, *, idle: bool) -> None:
        """Schedule the waiting calls after the reply to a command; `idle` if no other one is in flight."""
        if self._queue and not self._flush_scheduled:
            self._schedule_flush()
        if idle and isinstance(exchange, Batch) and len(exchange.calls) >= MIN_SPLIT_SIZE:
            self._early_flush_at = len(exchange.calls) // 2
            self.loop.call_soon(self._forget_early_flush)  # after the callers that have just got their decisions

    def on_lost(self, connection: Any) -> None:
        """Release a connection that was lost, and schedule the waiting calls."""
        self._run(self._pipeline.let_go(connection))
        if self._queue and not self._flush_scheduled:
            self._schedule_flush()

    def _schedule_flush(self) -> None:
        self._flush_scheduled = True
        self._waiting_since = monotonic()
        self.loop.call_soon(self._flush)

    def _forget_early_flush(self) -> None:
        self._early_flush_at = 0

    def _flush(self) -> None:
        """Send the calls of one iteration of the loop."""
        self._flush_scheduled = False
        pipeline = self._pipeline
        if not pipeline.stands():
            if self._queue and not pipeline.connecting:
                pipeline.connecting = True
                self._run(self._connect())
        elif pipeline.idle and monotonic() > pipeline.idle_since + MAX_IDLE_SECONDS:
            pipeline.idle_since = monotonic()
            self._schedule_flush()  # if the server has closed the connection, that is noticed first
        else:
            self._send()
        if self._queue and self._expiry is None:
            self._expire()

    def _send(self) -> None:
        exchanges: list[Exchange] = []
        while self._queue and self._pipeline.has_room(len(exchanges)):
            exchange = self._queue.take()
            if exchange is not None:
                exchanges.append(exchange)
        self._pipeline.send(exchanges)

    def _expire(self) -> None:
        """Fail the calls that could not be sent within their deadline, and come back for those that wait on."""
        seconds = self._queue.expire(connected=self._pipeline.connected)
        self._expiry = None if seconds is None else self.loop.call_later(seconds, self._expire)

    async def _connect(self) -> None:
        """Open a connection and send the waiting calls; on failure, all of them get the error."""
        try:
            await self._pipeline.connect()
            self._send()
        except Exception as error:  # noqa: BLE001 - whatever it is, the waiting calls get it
            for future in self._queue.clear():
                future.set_exception(self._pipeline.failures.told(error))
        except BaseException:  # the loop is being closed
            for future in self._queue.clear():
                future.cancel()
            raise
        finally:
            self._pipeline.connecting = False

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def aclose(self) -> None:
        """Close the connection; calls in flight get an error."""
        self._pipeline.close()
        if self._expiry is not None:
            self._expiry.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
