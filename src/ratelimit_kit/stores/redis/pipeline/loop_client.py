"""What one event loop has of redis-py: a client, and the pipeline that most of its calls share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

from ratelimit_kit.stores.redis.driver import has_private_names, make_client, room, sentinel_clients
from ratelimit_kit.stores.redis.failures import Failures
from ratelimit_kit.stores.redis.pipeline.abort import abort, taken_writers
from ratelimit_kit.stores.redis.pipeline.batching import Batcher
from ratelimit_kit.stores.redis.url import Address

MAX_LOOP_CONNECTIONS = 16
"""Connections per event loop: enough to keep it busy; more tasks wait for one within the deadline."""


class LoopClient:
    """The client, permits and batcher of one event loop."""

    def __init__(
        self, make: Callable[[], Any], batcher: Batcher | None, timeout: float, size: int = MAX_LOOP_CONNECTIONS
    ) -> None:
        self.client = make()
        self.size = size
        self._make = make
        self._timeout = timeout
        self._failed: list[Any] = []
        self.permits = asyncio.Semaphore(size)
        self.batcher = batcher
        self._preparing: asyncio.Task[Any] | None = None
        self._aborted: list[Any] = []

    async def prepared(self) -> None:
        """Let only one task at a time load the slot map: redis-py drops connections that others use meanwhile.

        Loading continues past the deadline of the call that started it: else it might never finish on a slow machine.
        """
        task = self._preparing
        if task is None or task.done():
            task = self._preparing = asyncio.get_running_loop().create_task(self.client.initialize())
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
        await asyncio.shield(task)

    def failed(self, client: Any) -> None:
        """Begin anew after a connection has failed: the others of that client may be as dead; calls over them end first."""
        if client is self.client and (self._preparing is None or self._preparing.done()):
            self.client, self._preparing = self._make(), None
            self._failed.append(client)
            asyncio.get_running_loop().call_later(self._timeout, self._close, client)

    def _close(self, client: Any) -> None:
        self._closing = asyncio.get_running_loop().create_task(client.aclose())
        self._closing.add_done_callback(lambda _: self._forget(client))

    def _forget(self, client: Any) -> None:
        self._failed = [one for one in self._failed if one is not client]

    async def aclose(self) -> None:
        """Close all connections; a later call opens new ones."""
        if self._preparing is not None:
            self._preparing.cancel()
        if self.batcher is not None:
            await self.batcher.aclose()
        for one in self._clients():
            await one.aclose()

    def abort(self, *, loop_closed: bool) -> None:
        """End all connections, once and for all."""
        for one in self._clients():
            self._aborted += taken_writers(one)
        for writer in self._aborted:
            abort(writer, loop_closed=loop_closed)

    def _clients(self) -> list[Any]:
        own = [self.client, *self._failed, *([] if self.batcher is None else [self.batcher.client])]
        return [client for one in own for client in (one, *sentinel_clients(one))]


class GivenClient(LoopClient):
    """A client of one's own: it is neither closed nor replaced, and has as many permits as its pool has connections."""

    def __init__(self, client: Any, timeout: float) -> None:
        super().__init__(lambda: client, None, timeout, room(client))

    def failed(self, client: Any) -> None:
        """Go on with the same client."""

    async def aclose(self) -> None:
        """Leave the client open."""
        if self._preparing is not None:
            self._preparing.cancel()

    def abort(self, *, loop_closed: bool) -> None:
        """Leave the client as it is."""


def loop_client(address: Address, failures: Failures, *, direct: bool) -> LoopClient:
    """A client for the running event loop; `direct` if its calls can share a connection, and do without the client."""
    batcher = None
    if direct:
        # A ReplyProtocol reads only RESP2.
        own = make_client(address.in_resp2(), failures.timeout, asynchronous=True, timed=False)
        if has_private_names(own, asynchronous=True):
            batcher = Batcher(own, failures)
    make = partial(make_client, address, failures.timeout, asynchronous=True)
    return LoopClient(make, batcher, failures.timeout)
