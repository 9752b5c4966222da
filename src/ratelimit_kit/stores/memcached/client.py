"""The Memcached servers of a store, and how its conversations with them are carried out.

Connections are pymemcache's, and rendezvous hashing assigns each key to one server, as in pymemcache's
HashClient. That client itself is not used: after an error it returns defaults for a while instead of
raising, and then moves the keys of a lost server to others, where their counters start from zero.
The async API carries out a conversation in a thread, because pymemcache does not support asyncio.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NoReturn
from weakref import WeakSet

from ratelimit_kit.core.fork import each_in_forked_child
from ratelimit_kit.errors import (
    ClockOffsetWarning,
    EvictionWarning,
    StartupWarning,
    StoreContendedError,
    StoreError,
    StoreFullError,
    StoreUnavailableError,
)
from ratelimit_kit.stores.memcached.commands import Found, Read, Wait, Write
from ratelimit_kit.stores.memcached.connection import FAILURES, MemcachedConnections, RendezvousHash, expire
from ratelimit_kit.stores.urls import StoreURL

MAX_CONNECTIONS = 32
"""Connections per server and process; more threads wait for one within the deadline."""

MAX_OFFSET_SECONDS = 2.0
"""How far two clocks may differ before it is worth a warning; Memcached reports whole seconds."""


class Servers:
    """The servers of a URL, and this process's connections to them."""

    def __init__(self, url: StoreURL, timeout: float) -> None:
        self._url = url.text()
        self._timeout = timeout
        self._addresses = dict(_addresses(url))
        self._only = next(iter(self._addresses)) if len(self._addresses) == 1 else None
        self._hash = RendezvousHash(nodes=list(self._addresses))
        self._renew()
        _of_this_process.add(self)

    def __str__(self) -> str:
        return f"MemcachedStore({self._url!r})"

    def _renew(self) -> None:
        """Start with new connections and threads: sockets must not be shared with a parent process."""
        self._threads: ThreadPoolExecutor | None = None
        self._pool = MemcachedConnections(MAX_CONNECTIONS, self._timeout)

    def carry_out(self, conversation: Generator[Any, Any, Any]) -> Any:
        """Execute the commands of a conversation and return its result; raises StoreError on any failure."""
        self._acquire()
        try:
            answer = None
            while True:
                answer = self._do(conversation.send(answer))
        except StopIteration as end:
            return end.value
        finally:
            self._pool.release()

    def change(self, key: str, work: Callable[[bytes], tuple[bytes, int] | None]) -> bool:
        """Replace an existing value by what `work` makes of it: a value and its time to live in seconds, or None.

        Returns False, with nothing changed, if there is no value or it has been overwritten meanwhile.
        """
        self._acquire()
        server = self._server_of(key)
        try:
            return self._pool.change(self._addresses[server], key, work)
        except FAILURES as error:
            self._fail(server, error)
        finally:
            self._pool.release()

    def ping(self) -> None:
        """Return if every server responds."""
        for name in self._addresses:
            self._call(name, "version")

    def examine(self) -> Iterator[StartupWarning]:
        """Problems found with the servers."""
        for name in self._addresses:
            begun = time.time()
            stats = self._call(name, "stats")
            offset = int(stats[b"time"]) + 0.5 - (begun + time.time()) / 2
            if abs(offset) > MAX_OFFSET_SECONDS:
                yield ClockOffsetWarning(
                    f"the clock of Memcached {name} is about {abs(offset):.0f} s "
                    f"{'ahead of' if offset > 0 else 'behind'} this machine's: hits are timed by the application's "
                    "machines, and if those differ too a window may be short by as much. Run NTP on all of them"
                )
            if int(stats[b"evictions"]):
                yield EvictionWarning(
                    f"Memcached {name} has evicted {int(stats[b'evictions'])} items to make room: clients whose counters "
                    "are among them start with a full quota. Give the counters a Memcached of their own, with more memory (-m)"
                )

    def facts(self) -> dict[str, Any]:
        """Facts about the servers, for people: versions, evictions, and the largest clock offset in seconds."""
        stats = [self._call(name, "stats") for name in self._addresses]
        offsets: list[float] = [int(one[b"time"]) + 0.5 - time.time() for one in stats]
        versions = {f"memcached {one[b'version'].decode()}" for one in stats}
        return {
            "server": ", ".join(sorted(versions)) + (f" ({len(stats)} servers)" if len(stats) > 1 else ""),
            "evictions": sum(int(one[b"evictions"]) for one in stats),
            "clock_offset": max((round(one, 1) for one in offsets), key=abs),
        }

    def close(self) -> None:
        """Close the connections of this process."""
        self._pool.close()
        if self._threads is not None:
            self._threads.shutdown(wait=False)
            self._threads = None

    async def in_thread(self, work: Callable[..., Any], *arguments: Any) -> Any:
        """Run blocking work off the event loop."""
        if self._threads is None:
            self._threads = ThreadPoolExecutor(MAX_CONNECTIONS, "ratelimit_kit-memcached")
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)

    def _acquire(self) -> None:
        if not self._pool.acquire(self._timeout):
            raise StoreContendedError(
                f"{self}: all {MAX_CONNECTIONS} connections stayed busy for {self._timeout:g} s, nothing was charged"
            )

    def _do(self, step: Read | Write | Wait) -> Any:
        if isinstance(step, Read):
            return self._read(step.keys)
        if isinstance(step, Wait):
            return time.sleep(step.seconds)
        key, value, found, seconds = step
        server = self._server_of(key)
        if value is None:
            return self._call(server, "delete", key)
        if found is None:
            return self._call(server, "add", key, value, expire(seconds))
        return bool(self._call(server, "cas", key, value, found.token, expire(seconds)))

    def _read(self, keys: list[str]) -> Mapping[str, Found]:
        by_server: dict[str, list[str]] = {}
        for key in keys:
            by_server.setdefault(self._server_of(key), []).append(key)
        found: dict[str, Found] = {}
        for name, some in by_server.items():
            answers = self._call(name, "gets_many", some)
            found.update({key: Found(*answer) for key, answer in answers.items()})
        return found

    def _server_of(self, key: str) -> str:
        if self._only is not None:
            return self._only
        server: str = self._hash.get_node(key)
        return server

    def _call(self, name: str, command: str, *arguments: Any) -> Any:
        try:
            return self._pool.call(self._addresses[name], command, *arguments)
        except FAILURES as error:
            self._fail(name, error)

    def _fail(self, name: str, error: Exception) -> NoReturn:
        if (refusal := _refusal(f"{self}: {name}", str(error))) is not None:
            raise refusal from error
        reason = f"no reply within {self._timeout:g} s" if isinstance(error, TimeoutError) else str(error)
        raise StoreUnavailableError(
            f"{self} gave no decision: {name}: {reason.rstrip('.') or type(error).__name__}. "
            "Check that the server runs and that the URL is right"
        ) from error


def _refusal(name: str, reason: str) -> StoreError | None:
    """The store error for a server that is alive, but refuses a value (SERVER_ERROR); None for other failures."""
    if "out of memory" in reason:
        return StoreFullError(
            f"{name} is full, and has no room for this counter. Give it more memory (-m), or let it evict (no -M), which gives the "
            "clients of evicted counters a full quota again"
        )
    if "too large" in reason:
        return StoreError(
            f"{name} takes no item as large as this counter: nothing was charged. Raise its item size (-I), or choose a "
            "lower resolution for the limit"
        )
    return None


def _addresses(url: StoreURL) -> Iterator[tuple[str, tuple[str, int] | str]]:
    """Server names and their addresses."""
    if url.options or url.login or bool(url.hosts) == (url.path not in {"", "/"}):
        raise url.refused(
            "is not a Memcached URL: write 'memcached://127.0.0.1:11211', several servers with commas, or "
            "'memcached:///path/to.sock'"
        )
    if not url.hosts:
        yield url.path, url.path
        return
    for host, port in url.nodes(11211):
        yield f"{host}:{port}", (host, port)


_of_this_process: WeakSet[Servers] = each_in_forked_child(Servers._renew)  # noqa: SLF001 - its own module
"""All instances, whose sockets and threads belong to the process that made them."""
