"""State in Redis, decided by one script call on the server's own clock.

Every call keeps to a deadline, and a charge is never sent twice unless the server has said that it
ran nothing (NOSCRIPT): a call that timed out may have been counted. The asyncio face keeps one
client per event loop, for its sockets belong to that loop.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable, Sequence
from typing import Any

from ratelimit_kit.core.decision import Verdict
from ratelimit_kit.core.options import known_options
from ratelimit_kit.errors import (
    ConfigurationError,
    DependencyError,
    OptionError,
    StoreContendedError,
    StoreError,
    StoreUnavailableError,
    StoreURLError,
)
from ratelimit_kit.stores import Charge, Scope, check_charges, redacted
from ratelimit_kit.stores.keys import encode
from ratelimit_kit.stores.redis_scripts import DECIDE, REFUND, Arguments, Script, verdicts

try:
    import redis
    import redis.asyncio
    from redis.backoff import NoBackoff
    from redis.exceptions import MaxConnectionsError, NoScriptError, RedisClusterException
except ImportError as error:
    raise DependencyError(
        "the Redis store needs the redis package, which is not installed: pip install 'ratelimit-kit[redis]'"
    ) from error

FAILURES = (redis.RedisError, RedisClusterException, OSError, TimeoutError)
"""All that can go wrong in a call; redis-py's cluster errors are no RedisError."""

CONNECTIONS = 64
"""Connections per process at most; more threads wait for one within the deadline."""

LOOP_CONNECTIONS = 16
"""Connections per event loop at most: enough to keep it busy; more tasks wait for a turn within the deadline."""


class RedisStore:
    """Counters in Redis (or a server that speaks its protocol and Lua), shared by all who use it.

    `url` is `redis://`, `rediss://` or `unix://`; `timeout` is the deadline in seconds for
    connecting and for a call. Instead of a URL, `client` and `async_client` take redis-py clients
    of your own, with their own time-outs. `clock` (nanoseconds) replaces the server's clock in tests.
    """

    scope = Scope.SHARED

    @known_options
    def __init__(
        self,
        url: str | None = None,
        *,
        client: Any = None,
        async_client: Any = None,
        timeout: float = 0.25,
        prefix: str = "rlk",
        clock: Callable[[], int] | None = None,
    ) -> None:
        if (url is None) == (client is None and async_client is None):
            raise OptionError(
                "RedisStore takes a URL such as 'redis://127.0.0.1:6379/0', or clients, not both and not neither"
            )
        if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not 0 < timeout <= 60:
            raise OptionError(f"timeout={timeout!r} is no deadline: give seconds above 0, up to 60")
        self._url = url
        self._timeout = timeout
        self._prefix = encode(prefix)
        self._client = (
            client
            if url is None
            else redis.Redis(connection_pool=self._pool(redis.BlockingConnectionPool, redis.retry.Retry))
        )
        self._async_client = async_client
        self._loops: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, tuple[Any, asyncio.Semaphore]]
        self._loops = weakref.WeakKeyDictionary()
        self._arguments = Arguments(clock)

    def __repr__(self) -> str:
        return f"RedisStore({redacted(self._url)!r})" if self._url else "RedisStore(client=...)"

    def decide(self, charges: Sequence[Charge]) -> Sequence[Verdict]:
        """Admit all charges or write nothing, in one script call; one Verdict per charge, in order."""
        keys = self._keys(charges)
        answer = self._run(DECIDE, keys, self._arguments.decide(charges))
        if answer[0] < 0:
            self._arguments.learn_calendar(answer[1])
            answer = self._run(DECIDE, keys, self._arguments.decide(charges))
        return verdicts(charges, answer)

    async def adecide(self, charges: Sequence[Charge]) -> Sequence[Verdict]:
        """Do what `decide` does."""
        keys = self._keys(charges)
        answer = await self._arun(DECIDE, keys, self._arguments.decide(charges))
        if answer[0] < 0:
            self._arguments.learn_calendar(answer[1])
            answer = await self._arun(DECIDE, keys, self._arguments.decide(charges))
        return verdicts(charges, answer)

    def refund(self, charges: Sequence[Charge], stamp: int | None = None) -> None:
        """Give costs back: of the hits made at `stamp` (microseconds), else of the oldest."""
        self._run(REFUND, self._keys(charges), self._arguments.refund(charges, stamp))

    async def arefund(self, charges: Sequence[Charge], stamp: int | None = None) -> None:
        """Do what `refund` does."""
        await self._arun(REFUND, self._keys(charges), self._arguments.refund(charges, stamp))

    def reset(self, charges: Sequence[Charge]) -> None:
        """Forget everything about the charges' keys and limits."""
        self._call(lambda client: client.delete(*self._keys(charges)))

    async def areset(self, charges: Sequence[Charge]) -> None:
        """Do what `reset` does."""
        await self._acall(lambda client: client.delete(*self._keys(charges)))

    def ping(self) -> None:
        """Return when Redis answers; raise StoreUnavailableError when it does not."""
        self._call(lambda client: client.ping())

    async def aping(self) -> None:
        """Do what `ping` does."""
        await self._acall(lambda client: client.ping())

    def close(self) -> None:
        """Close the connections, when no call is under way; a later call opens new ones."""
        if self._url is not None:
            self._client.connection_pool.disconnect()

    async def aclose(self) -> None:
        """Close this event loop's client; a later call opens a new one."""
        client, _ = self._loops.pop(asyncio.get_running_loop(), (None, None))
        if client is not None:
            await client.aclose()

    def _run(self, script: Script, keys: list[str], arguments: list[Any]) -> list[int]:
        def call(client: Any) -> Any:
            try:
                return client.evalsha(script.sha, len(keys), *keys, *arguments)
            except NoScriptError:
                return client.eval(script.source, len(keys), *keys, *arguments)

        answer: list[int] = self._call(call)
        return answer

    async def _arun(self, script: Script, keys: list[str], arguments: list[Any]) -> list[int]:
        async def call(client: Any) -> Any:
            try:
                return await client.evalsha(script.sha, len(keys), *keys, *arguments)
            except NoScriptError:
                return await client.eval(script.source, len(keys), *keys, *arguments)

        answer: list[int] = await self._acall(call)
        return answer

    def _call(self, work: Callable[[Any], Any]) -> Any:
        if self._client is None:
            raise ConfigurationError("this RedisStore has only an async_client: give it a client too, or a URL")
        try:
            return work(self._client)
        except FAILURES as error:
            raise self._failure(error) from error

    async def _acall(self, work: Callable[[Any], Any]) -> Any:
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
            f"{self!r}: all {connections} connections stayed busy for {self._timeout:g} s, nothing was charged"
        )

    def _failure(self, error: BaseException) -> StoreError:
        what = repr(self)
        if isinstance(error, MaxConnectionsError) or "No connection available" in str(error):
            return self._contended(CONNECTIONS)
        reason = str(error).rstrip(".") or type(error).__name__
        if isinstance(error, TimeoutError | redis.TimeoutError):
            reason = f"no answer within {self._timeout:g} s"
        advice = "Check that the server runs and that the URL is right"
        if isinstance(error, redis.AuthenticationError):
            advice = "The server runs: check the user and password in the URL"
        return StoreUnavailableError(f"{what} gave no decision: {reason}. {advice}")

    def _keys(self, charges: Sequence[Charge]) -> list[str]:
        check_charges(charges)
        return [f"{self._prefix}:{limit.id}:{{{encode(key)}}}" for key, limit, _ in charges]


def from_url(url: str) -> RedisStore:
    """The store that a `redis://`, `rediss://` or `unix://` URL names."""
    return RedisStore(url)
