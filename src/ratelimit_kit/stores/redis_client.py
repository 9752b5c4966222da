"""How Redis is reached: clients, their connections, deadlines, and what a failure means.

Every call keeps to a deadline and is never repeated by itself. The asyncio face keeps one client
per event loop, for its sockets belong to that loop. A call first waits for its turn: more callers
than connections are told apart from an outage, so that a flood does not look like one.
"""

from __future__ import annotations

import asyncio
import os
import weakref
from collections.abc import Callable
from threading import BoundedSemaphore, Lock
from typing import Any

from ratelimit_kit.errors import (
    ConfigurationError,
    DependencyError,
    StoreContendedError,
    StoreError,
    StoreUnavailableError,
    StoreURLError,
)
from ratelimit_kit.stores import redacted
from ratelimit_kit.stores.redis_address import Address, read_address

try:
    import redis
    import redis.asyncio
    import redis.asyncio.cluster
    import redis.asyncio.sentinel
    import redis.cluster
    import redis.sentinel
    from redis.backoff import NoBackoff
    from redis.exceptions import MaxConnectionsError, NoPermissionError, NoScriptError, RedisClusterException
except ImportError as error:
    raise DependencyError(
        "the Redis store needs the redis package, which is not installed: pip install 'ratelimit-kit[redis]'"
    ) from error

__all__ = ["Clients", "NoPermissionError", "NoScriptError"]

FAILURES = (redis.RedisError, RedisClusterException, OSError, TimeoutError)
"""All that can go wrong in a call; redis-py's cluster errors are no RedisError."""

CONNECTIONS = 64
"""Connections per process at most; more threads wait for one within the deadline."""

LOOP_CONNECTIONS = 16
"""Connections per event loop at most: enough to keep it busy; more tasks wait for a turn within the deadline."""


class Clients:
    """A client for this process and one for each event loop, from a URL, or those that the user gave."""

    def __init__(self, url: str | None, client: Any, async_client: Any, timeout: float) -> None:
        self._url = url
        self._address = None if url is None else read_address(url)
        self._timeout = timeout
        self.given = [one for one in (client, async_client) if one is not None]
        self._client = client
        self._async_client = async_client
        self._renew()
        if self._address is not None and self._address.kind != "cluster":  # which asks the network at once
            self._client = self._built(self._address, asynchronous=False)
        _all.add(self)

    def _renew(self) -> None:
        """Turns that nobody has taken, and no client of another process's event loops."""
        self._turns = BoundedSemaphore(CONNECTIONS)
        self._building = Lock()
        self._loops: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, tuple[Any, asyncio.Semaphore]]
        self._loops = weakref.WeakKeyDictionary()
        self._preparing: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Task[Any]]
        self._preparing = weakref.WeakKeyDictionary()

    def __str__(self) -> str:
        return f"RedisStore({redacted(self._url)!r})" if self._url else "RedisStore(client=...)"

    @property
    def clustered(self) -> bool:
        """Whether keys live in slots on several nodes, and a call may touch only one."""
        if self._address is not None:
            return self._address.kind == "cluster"
        clusters = redis.cluster.RedisCluster, redis.asyncio.cluster.RedisCluster
        return any(isinstance(client, clusters) for client in self.given)

    def call(self, work: Callable[[Any], Any]) -> Any:
        """Wait for a turn, then run `work` on the client; StoreError for whatever went wrong."""
        turns = self._turns
        if not turns.acquire(timeout=self._timeout):
            raise self._contended(CONNECTIONS)
        try:
            return work(self._own_client())
        except FAILURES as error:
            raise self._failure(error) from error
        finally:
            turns.release()

    async def acall(self, work: Callable[[Any], Any]) -> Any:
        """Wait for a turn and then for the answer, each within the deadline."""
        if self._url is None:
            return await self._through_own_client(work)
        client, turns = self._of_this_loop()
        try:
            async with asyncio.timeout(self._timeout):
                await turns.acquire()
        except TimeoutError:
            raise self._contended(LOOP_CONNECTIONS) from None
        try:
            async with asyncio.timeout(self._timeout):
                if self.clustered:
                    await self._prepared(client)
                return await work(client)
        except FAILURES as error:
            raise self._failure(error) from error
        finally:
            turns.release()

    def close(self) -> None:
        """Close the connections, when no call is under way; a later call opens new ones."""
        if self._address is None or self._client is None:
            return
        if self._address.kind == "cluster":
            client, self._client = self._client, None
            ends = [node.redis_connection for node in client.get_nodes() if node.redis_connection is not None]
        else:
            ends = [self._client, *_watchers(self._client)]
        for end in ends:
            end.connection_pool.disconnect()

    async def aclose(self) -> None:
        """Close this event loop's client; a later call opens a new one."""
        loop = asyncio.get_running_loop()
        client, _ = self._loops.pop(loop, (None, None))
        if loop in self._preparing:
            self._preparing.pop(loop).cancel()
        if client is not None:
            await client.aclose()
            for watcher in _watchers(client):
                await watcher.aclose()

    def _own_client(self) -> Any:
        if self._client is None:
            if self._address is None:
                raise ConfigurationError("this RedisStore has only an async_client: give it a client too, or a URL")
            with self._building:
                if self._client is None:
                    self._client = self._built(self._address, asynchronous=False)
        return self._client

    async def _through_own_client(self, work: Callable[[Any], Any]) -> Any:
        if self._async_client is None:
            raise ConfigurationError("this RedisStore has only a sync client: give it an async_client too, or a URL")
        try:
            return await work(self._async_client)
        except FAILURES as error:
            raise self._failure(error) from error

    async def _prepared(self, client: Any) -> None:
        """Let one task at a time learn where the slots are: redis-py drops connections that others use meanwhile.

        It goes on when the deadline of who began it has passed: on a slow machine nobody would ever get through.
        """
        loop = asyncio.get_running_loop()
        task = self._preparing.get(loop)
        if task is None or task.done():
            task = self._preparing[loop] = loop.create_task(client.initialize())
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
        await asyncio.shield(task)

    def _of_this_loop(self) -> tuple[Any, asyncio.Semaphore]:
        loop = asyncio.get_running_loop()
        if loop not in self._loops:
            assert self._address is not None
            client = self._built(self._address, asynchronous=True)
            self._loops[loop] = client, asyncio.Semaphore(LOOP_CONNECTIONS)
        return self._loops[loop]

    def _built(self, address: Address, *, asynchronous: bool) -> Any:
        """A client that keeps to the deadline and never repeats a call by itself."""
        library: Any = redis.asyncio if asynchronous else redis
        options = {
            "socket_connect_timeout": self._timeout,
            "socket_timeout": self._timeout,
            "retry": library.retry.Retry(NoBackoff(), 0),
            "protocol": 2,
        }
        if address.kind == "cluster":
            nodes = [library.cluster.ClusterNode(*node) for node in address.nodes]
            return library.cluster.RedisCluster(startup_nodes=nodes, **{**options, **address.options})
        options["max_connections"] = CONNECTIONS
        if address.kind == "sentinel":
            watchers = library.sentinel.Sentinel(
                address.nodes, sentinel_kwargs={**options, **address.sentinel_options}, **{**options, **address.options}
            )
            return watchers.master_for(address.service)
        try:
            pool = library.ConnectionPool.from_url(address.url, **options)
            pool.connection_class(**pool.connection_kwargs)
        except (ValueError, TypeError) as error:
            raise StoreURLError(f"store={redacted(self._url or '')!r} is no Redis URL: {error}") from None
        return library.Redis.from_pool(pool) if asynchronous else library.Redis(connection_pool=pool)

    def _contended(self, connections: int) -> StoreContendedError:
        return StoreContendedError(
            f"{self}: all {connections} connections stayed busy for {self._timeout:g} s, nothing was charged"
        )

    def _failure(self, error: BaseException) -> StoreError:
        if isinstance(error, MaxConnectionsError) or "No connection available" in str(error):
            return self._contended(CONNECTIONS)
        reason = str(error).rstrip(".") or type(error).__name__
        if isinstance(error, TimeoutError | redis.TimeoutError):
            reason = f"no answer within {self._timeout:g} s"
        advice = "Check that the server runs and that the URL is right"
        if isinstance(error, redis.AuthenticationError):
            advice = "The server runs: check the user and password in the URL"
        elif not self.clustered and any(word in reason for word in ("CROSSSLOT", "MOVED", "same slot")):
            advice = "This is a node of a Redis Cluster: write redis+cluster://... for it"
        return StoreUnavailableError(f"{self} gave no decision: {reason}. {advice}")


def _watchers(client: Any) -> list[Any]:
    """The clients for Sentinels behind a client, which closing it leaves open."""
    manager = getattr(getattr(client, "connection_pool", None), "sentinel_manager", None)
    return [] if manager is None else list(manager.sentinels)


_all: weakref.WeakSet[Clients] = weakref.WeakSet()


def _renew_after_fork() -> None:
    """In a forked child: a turn that another thread of the parent held would never come back."""
    for clients in list(_all):
        clients._renew()  # noqa: SLF001 - its own module


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_after_fork)
