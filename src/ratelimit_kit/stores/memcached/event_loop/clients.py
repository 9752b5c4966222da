"""The async API's way to the servers: each event loop has a client of its own, with one connection to each server.

Nothing here keeps an event loop alive. What belongs to one that has ended is closed with it, or at the latest when the
next one begins. A loop that cannot watch sockets (the Proactor of Windows) is served by threads.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from weakref import WeakKeyDictionary

from ratelimit_kit.core.fork import each_in_forked_child
from ratelimit_kit.stores.memcached.client import MAX_CONNECTIONS, Client
from ratelimit_kit.stores.memcached.conversations import Job
from ratelimit_kit.stores.memcached.event_loop.client import LoopClient
from ratelimit_kit.stores.memcached.failures import Call, Failures
from ratelimit_kit.stores.memcached.servers import Servers


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
        self._loops: WeakKeyDictionary[asyncio.AbstractEventLoop, LoopClient | None] = WeakKeyDictionary()
        self._lock = threading.Lock()
        self._threads: ThreadPoolExecutor | None = None

    async def run(self, job: Job) -> Any:
        """Do a job until the deadline, or let somebody else do it along with his; raises StoreError on any failure."""
        loop = asyncio.get_running_loop()
        try:
            client = self._loops[loop]
        except KeyError:
            client = self._add(loop)
        if client is not None:
            return await client.run(job)
        call = Call(self._failures.timeout)  # the time in the queue for a thread is part of it
        if self._threads is None:
            self._threads = ThreadPoolExecutor(MAX_CONNECTIONS, "ratelimit_kit-memcached")
        return await loop.run_in_executor(self._threads, self._client.run, job, call)

    async def aclose(self) -> None:
        """Close the connections of the running loop, and those of the sync API."""
        client = self._loops.pop(asyncio.get_running_loop(), None)
        if client is not None:
            client.close()
        self._client.close()
        if self._threads is not None:
            self._threads.shutdown(wait=False)
            self._threads = None

    def _add(self, loop: asyncio.AbstractEventLoop) -> LoopClient | None:
        """A client for a loop that is new here; drops those of loops that have been closed with calls in progress."""
        client = LoopClient(self._servers, self._failures) if _watches_sockets(loop) else None
        with self._lock:
            for other in [one for one in self._loops if one.is_closed()]:
                del self._loops[other]
            self._loops[loop] = client
        return client


def _watches_sockets(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether a loop can tell when a socket is readable."""
    with socket.socket() as probe:
        try:
            loop.remove_reader(probe.fileno())
        except NotImplementedError:
            return False
    return True


_of_this_process = each_in_forked_child(AsyncClient._renew)  # noqa: SLF001 - its own module
"""All clients, whose sockets and threads belong to the process that made them."""
