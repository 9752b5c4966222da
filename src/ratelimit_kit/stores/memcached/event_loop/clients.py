"""The async API's way to the servers: each event loop has a client of its own, with one connection to each server.

What belongs to a loop ends with it (see `stores/event_loops.py`). A loop that cannot watch sockets (the Proactor of
Windows) is served by threads, and so is trio.
"""

from __future__ import annotations

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from ratelimit_kit.core.fork import each_in_forked_child
from ratelimit_kit.stores.event_loops import PerLoop
from ratelimit_kit.stores.memcached.client import MAX_CONNECTIONS, Client
from ratelimit_kit.stores.memcached.conversations import Job
from ratelimit_kit.stores.memcached.event_loop.client import LoopClient
from ratelimit_kit.stores.memcached.failures import Call, Failures
from ratelimit_kit.stores.memcached.servers import Servers
from ratelimit_kit.waiting import in_thread, is_trio


class AsyncClient:
    """The clients of this process's event loops; `client` serves those that cannot watch sockets, in threads."""

    def __init__(self, servers: Servers, failures: Failures, client: Client) -> None:
        self._servers = servers
        self._failures = failures
        self._client = client
        self._renew()
        _of_this_process.add(self)

    def _renew(self) -> None:
        """Start anew: the connections, loops and threads are a parent process's."""
        self._loops = PerLoop(partial(LoopClient, self._servers, self._failures))
        self._threads: ThreadPoolExecutor | None = None

    async def run(self, job: Job) -> Any:
        """Do a job until the deadline, or let somebody else do it along with his; raises StoreError on any failure."""
        if is_trio():
            return await in_thread(self._client.run, job, Call(self._failures.timeout))
        loop = asyncio.get_running_loop()
        if _watches_sockets(loop):
            return await self._loops.get().run(job)
        call = Call(self._failures.timeout)  # the time in the queue for a thread is part of it
        if self._threads is None:
            self._threads = ThreadPoolExecutor(MAX_CONNECTIONS, "ratelimit_kit-memcached")
        return await loop.run_in_executor(self._threads, self._client.run, job, call)

    async def aclose(self) -> None:
        """Close the connections of the running loop, and those of the sync API."""
        await self._loops.aclose()
        self._client.close()
        if self._threads is not None:
            self._threads.shutdown(wait=False)
            self._threads = None


_watching: dict[type, bool] = {}
"""Whether the loops of a class can tell when a socket is readable."""


def _watches_sockets(loop: asyncio.AbstractEventLoop) -> bool:
    kind = type(loop)
    if kind not in _watching:
        with socket.socket() as probe:
            try:
                loop.remove_reader(probe.fileno())
            except NotImplementedError:
                _watching[kind] = False
            else:
                _watching[kind] = True
    return _watching[kind]


_of_this_process = each_in_forked_child(AsyncClient._renew)  # noqa: SLF001 - its own module
"""All clients, whose sockets and threads belong to the process that made them."""
