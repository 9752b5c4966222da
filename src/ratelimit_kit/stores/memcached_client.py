"""How Memcached servers are reached, and how a store's conversation with them is carried out.

One pooled pymemcache client per server, and a key belongs to one server by rendezvous hashing, as
in pymemcache's HashClient. That client itself is not used: after an error it answers "no" for a
while instead of raising, and then moves the keys of a lost server to others, which begin anew.
The asyncio face carries a conversation out in a thread, for pymemcache knows no event loop.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from threading import BoundedSemaphore
from typing import Any, NamedTuple, NoReturn
from urllib.parse import urlsplit

from ratelimit_kit.errors import (
    ClockOffsetWarning,
    DependencyError,
    EvictionWarning,
    StartupWarning,
    StoreContendedError,
    StoreUnavailableError,
    StoreURLError,
)

try:
    from pymemcache.client.base import PooledClient
    from pymemcache.client.rendezvous import RendezvousHash
    from pymemcache.exceptions import MemcacheError
except ImportError as error:
    raise DependencyError(
        "the Memcached store needs the pymemcache package, which is not installed: pip install 'ratelimit-kit[memcached]'"
    ) from error

CONNECTIONS = 32
"""Connections per server and process at most; more threads wait for one within the deadline."""

FAILURES = (MemcacheError, OSError)

MONTH = 30 * 86400
"""Seconds above which Memcached takes an expiry for a time of the epoch."""

OFFSET = 2.0
"""Seconds that two clocks may differ before it is worth a warning; Memcached tells whole seconds."""


class Read(NamedTuple):
    """Read states by key; answered with a dict of Found."""

    keys: list[str]


class Found(NamedTuple):
    """What was read: the bytes, and the token to write them back with."""

    value: bytes
    token: bytes


class Write(NamedTuple):
    """Write a value if the key is still as it was found; None forgets the key. Answered with a bool."""

    key: str
    value: bytes | None
    found: Found | None
    seconds: int


class Wait(NamedTuple):
    """Wait for some seconds."""

    seconds: float


class Servers:
    """The servers of a URL, and the clients of this process for them."""

    def __init__(self, url: str, timeout: float) -> None:
        self._url = url
        self._timeout = timeout
        self._addresses = dict(_addresses(url))
        self._hash = RendezvousHash(nodes=list(self._addresses))
        self._renew()

    def __str__(self) -> str:
        return f"MemcachedStore({self._url!r})"

    def _renew(self) -> None:
        """Clients of this process's own: sockets must not be shared with a parent."""
        self._pid = os.getpid()
        self._turns = BoundedSemaphore(CONNECTIONS)
        self._threads: ThreadPoolExecutor | None = None
        self._clients = {
            name: PooledClient(
                address,
                connect_timeout=self._timeout,
                timeout=self._timeout,
                no_delay=True,
                default_noreply=False,
            )
            for name, address in self._addresses.items()
        }

    def carry_out(self, conversation: Generator[Any, Any, Any]) -> Any:
        """Do what the conversation asks for, and return its result; StoreError for whatever went wrong."""
        if self._pid != os.getpid():
            self._renew()
        if not self._turns.acquire(timeout=self._timeout):
            raise StoreContendedError(
                f"{self}: all {CONNECTIONS} connections stayed busy for {self._timeout:g} s, nothing was charged"
            )
        try:
            answer = None
            while True:
                answer = self._do(conversation.send(answer))
        except StopIteration as end:
            return end.value
        finally:
            self._turns.release()

    async def acarry_out(self, conversation: Generator[Any, Any, Any]) -> Any:
        """Do what `carry_out` does."""
        return await self._in_thread(self.carry_out, conversation)

    def ping(self) -> None:
        """Return when every server answers."""
        for name in self._clients:
            self._call(name, lambda client: client.version())

    async def aping(self) -> None:
        """Do what `ping` does."""
        await self._in_thread(self.ping)

    def examine(self) -> Iterator[StartupWarning]:
        """What is wrong with the servers."""
        for name in self._clients:
            begun = time.time()
            stats = self._call(name, lambda client: client.stats())
            offset = int(stats[b"time"]) + 0.5 - (begun + time.time()) / 2
            if abs(offset) > OFFSET:
                yield ClockOffsetWarning(
                    f"the clock of Memcached {name} is about {abs(offset):.0f} s "
                    f"{'ahead of' if offset > 0 else 'behind'} this machine's: hits are timed by the application's "
                    "machines, and where those differ too a window may be short by as much. Let NTP run on all"
                )
            if int(stats[b"evictions"]):
                yield EvictionWarning(
                    f"Memcached {name} has thrown {int(stats[b'evictions'])} items away to make room: clients whose counters "
                    "are among them begin anew. Give the counters a Memcached of their own, with more memory (-m)"
                )

    def facts(self) -> dict[str, Any]:
        """What the servers say of themselves, for people; of the one whose clock is farthest off."""
        stats = [self._call(name, lambda client: client.stats()) for name in self._clients]
        offsets: list[float] = [int(one[b"time"]) + 0.5 - time.time() for one in stats]
        versions = {f"memcached {one[b'version'].decode()}" for one in stats}
        return {
            "server": ", ".join(sorted(versions)) + (f" ({len(stats)} servers)" if len(stats) > 1 else ""),
            "evictions": sum(int(one[b"evictions"]) for one in stats),
            "clock_offset": max((round(one, 1) for one in offsets), key=abs),
        }

    def close(self) -> None:
        """Close the connections of this process."""
        for client in self._clients.values():
            client.close()
        if self._threads is not None:
            self._threads.shutdown(wait=False)
            self._threads = None

    async def _in_thread(self, work: Callable[..., Any], *arguments: Any) -> Any:
        if self._pid != os.getpid():
            self._renew()
        if self._threads is None:
            self._threads = ThreadPoolExecutor(CONNECTIONS, "ratelimit_kit-memcached")
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)

    def _do(self, step: Read | Write | Wait) -> Any:
        match step:
            case Wait(seconds):
                return time.sleep(seconds)
            case Read(keys):
                return self._read(keys)
            case Write(key, None, _, _):
                return self._call(self._hash.get_node(key), lambda client: client.delete(key))
            case Write(key, value, None, seconds):
                expire = _expire(seconds)
                return self._call(self._hash.get_node(key), lambda client: client.add(key, value, expire))
            case Write(key, value, Found(_, token), seconds):
                expire = _expire(seconds)
                return bool(self._call(self._hash.get_node(key), lambda client: client.cas(key, value, token, expire)))

    def _read(self, keys: list[str]) -> Mapping[str, Found]:
        by_server: dict[str, list[str]] = {}
        for key in keys:
            by_server.setdefault(self._hash.get_node(key), []).append(key)
        found: dict[str, Found] = {}
        for name, some in by_server.items():
            answers = self._call(name, lambda client, some=some: client.gets_many(some))
            found.update({key: Found(*answer) for key, answer in answers.items()})
        return found

    def _call(self, name: str, work: Callable[..., Any]) -> Any:
        try:
            return work(self._clients[name])
        except FAILURES as error:
            self._fail(name, error)

    def _fail(self, name: str, error: Exception) -> NoReturn:
        reason = f"no answer within {self._timeout:g} s" if isinstance(error, TimeoutError) else str(error)
        raise StoreUnavailableError(
            f"{self} gave no decision: {name}: {reason.rstrip('.') or type(error).__name__}. "
            "Check that the server runs and that the URL is right"
        ) from error


def _expire(seconds: int) -> int:
    """What Memcached takes for an expiry: seconds up to 30 days, beyond them a time of the epoch."""
    return seconds if seconds <= MONTH else int(time.time()) + seconds


def _addresses(url: str) -> Iterator[tuple[str, tuple[str, int] | str]]:
    """Server names and their addresses."""
    parts = urlsplit(url)
    if parts.query or parts.fragment or "@" in parts.netloc or bool(parts.netloc) == (parts.path not in {"", "/"}):
        raise StoreURLError(
            f"store={url.rpartition('@')[2]!r} is no Memcached URL: write 'memcached://127.0.0.1:11211', several servers "
            "with commas, or 'memcached:///path/to.sock'"
        )
    if not parts.netloc:
        yield parts.path, parts.path
        return
    for server in parts.netloc.split(","):
        try:
            one = urlsplit(f"//{server}")
            host, port = one.hostname, one.port or 11211
        except ValueError as error:
            raise StoreURLError(f"store={url!r}: {server!r} is no address: {error}") from None
        if not host:
            raise StoreURLError(f"store={url!r}: {server!r} is no address: write for example 127.0.0.1:11211")
        yield f"{host}:{port}", (host, port)
