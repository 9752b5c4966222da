"""How a Redis server is reached: clients, their connections, deadlines, and what a failure means.

Every call keeps to a deadline and is never repeated by itself. The asyncio face keeps one client
per event loop, for its sockets belong to that loop.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable
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

try:
    import redis
    import redis.asyncio
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
        self._timeout = timeout
        self.given = [one for one in (client, async_client) if one is not None]
        self._client = (
            client
            if url is None
            else redis.Redis(connection_pool=self._pool(redis.BlockingConnectionPool, redis.retry.Retry))
        )
        self._async_client = async_client
        self._loops: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, tuple[Any, asyncio.Semaphore]]
        self._loops = weakref.WeakKeyDictionary()

    def __str__(self) -> str:
        return f"RedisStore({redacted(self._url)!r})" if self._url else "RedisStore(client=...)"

    def call(self, work: Callable[[Any], Any]) -> Any:
        """Run `work` on the client; StoreError for whatever went wrong."""
        if self._client is None:
            raise ConfigurationError("this RedisStore has only an async_client: give it a client too, or a URL")
        try:
            return work(self._client)
        except FAILURES as error:
            raise self._failure(error) from error

    async def acall(self, work: Callable[[Any], Any]) -> Any:
        """Wait for a turn and then for the answer, each within the deadline.

        The two are told apart: a flood that fills all turns must not look like an outage.
        """
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
                return await work(client)
        except FAILURES as error:
            raise self._failure(error) from error
        finally:
            turns.release()

    def close(self) -> None:
        """Close the connections, when no call is under way; a later call opens new ones."""
        if self._url is not None:
            self._client.connection_pool.disconnect()

    async def aclose(self) -> None:
        """Close this event loop's client; a later call opens a new one."""
        client, _ = self._loops.pop(asyncio.get_running_loop(), (None, None))
        if client is not None:
            await client.aclose()

    async def _through_own_client(self, work: Callable[[Any], Any]) -> Any:
        if self._async_client is None:
            raise ConfigurationError("this RedisStore has only a sync client: give it an async_client too, or a URL")
        try:
            return await work(self._async_client)
        except FAILURES as error:
            raise self._failure(error) from error

    def _of_this_loop(self) -> tuple[Any, asyncio.Semaphore]:
        loop = asyncio.get_running_loop()
        if loop not in self._loops:
            pool = self._pool(redis.asyncio.BlockingConnectionPool, redis.asyncio.retry.Retry)
            self._loops[loop] = redis.asyncio.Redis.from_pool(pool), asyncio.Semaphore(LOOP_CONNECTIONS)
        return self._loops[loop]

    def _pool(self, pool: Any, retry: Any) -> Any:
        """One pool that waits for a free connection within the deadline, and never repeats a call by itself."""
        try:
            return pool.from_url(
                self._url,
                max_connections=CONNECTIONS,
                timeout=self._timeout,
                socket_connect_timeout=self._timeout,
                socket_timeout=self._timeout,
                retry=retry(NoBackoff(), 0),
                protocol=2,
            )
        except (ValueError, TypeError) as error:
            raise StoreURLError(f"store={redacted(self._url or '')!r} is no Redis URL: {error}") from None

    def _contended(self, connections: int) -> StoreContendedError:
        return StoreContendedError(
            f"{self}: all {connections} connections stayed busy for {self._timeout:g} s, nothing was charged"
        )

    def _failure(self, error: BaseException) -> StoreError:
        what = str(self)
        if isinstance(error, MaxConnectionsError) or "No connection available" in str(error):
            return self._contended(CONNECTIONS)
        reason = str(error).rstrip(".") or type(error).__name__
        if isinstance(error, TimeoutError | redis.TimeoutError):
            reason = f"no answer within {self._timeout:g} s"
        advice = "Check that the server runs and that the URL is right"
        if isinstance(error, redis.AuthenticationError):
            advice = "The server runs: check the user and password in the URL"
        return StoreUnavailableError(f"{what} gave no decision: {reason}. {advice}")
