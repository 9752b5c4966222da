"""Access to Redis: clients, their connections, deadlines and failures.

Every call has a deadline and is never retried automatically. The async API keeps one client per event
loop, because its sockets belong to that loop. A call first acquires a permit, so that having more callers
than connections does not look like an outage.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from threading import Lock
from typing import Any, cast

from ratelimit_kit.core.fork import each_in_forked_child
from ratelimit_kit.errors import ConfigurationError, OptionError
from ratelimit_kit.stores.event_loops import PerLoop
from ratelimit_kit.stores.redis.batching import Batcher
from ratelimit_kit.stores.redis.driver import (
    CLUSTERS,
    FAILURES,
    MAX_CONNECTIONS,
    NEVER_DECODE,
    NoScriptError,
    abort,
    has_private_names,
    make_client,
    sentinel_clients,
    taken_writers,
)
from ratelimit_kit.stores.redis.failures import Failures
from ratelimit_kit.stores.redis.pool import RedisConnections
from ratelimit_kit.stores.redis.scripts import Arguments, PackedArguments, Script, encode_call
from ratelimit_kit.stores.redis.timeout import Deadline
from ratelimit_kit.stores.redis.url import Address

MAX_LOOP_CONNECTIONS = 16
"""Connections per event loop: enough to keep it busy; more tasks wait for one within the deadline."""

BYTES: Any = {NEVER_DECODE: True}
"""An option to get replies as bytes even from a client that decodes them: they are packed numbers."""


def is_cluster(client: Any) -> bool:
    """Whether a user's client is for a cluster, where a call may touch only one slot."""
    return isinstance(client, CLUSTERS)


class Client:
    """The sync client of this process: one for `address`, or the user's own (None if only an async one was given)."""

    def __init__(self, address: Address | None, given: Any, failures: Failures) -> None:
        self._address = address
        self._failures = failures
        self._client = given
        self._direct = False
        if address is not None and address.kind != "cluster":  # a cluster client connects when it is created
            self._client = make_client(address, failures.timeout, asynchronous=False)
            self._direct = has_private_names(self._client, asynchronous=False)
        self._renew()
        _of_this_process.add(self)

    def _renew(self) -> None:
        """Start with new connections: a parent process, or its threads, may be using the others."""
        self._pool = RedisConnections(MAX_CONNECTIONS, self._client.connection_pool if self._direct else None)
        self._building = Lock()

    def call(self, work: Callable[[Any], Any]) -> Any:
        """Acquire a permit, then run `work` on the client; raises StoreError on any failure."""
        pool = self._pool
        if not pool.acquire(self._failures.timeout):
            raise self._failures.contended(pool.size)
        try:
            return work(self._library_client())
        except FAILURES as error:
            raise self._failures.meaning(error) from error
        finally:
            pool.release()

    def run(self, script: Script, keys: Sequence[str], arguments: PackedArguments) -> Any:
        """Call a script: over a connection of our own, or through a user's client or a cluster client.

        Only a call of a script that the server does not know is sent again, with the text: then nothing has run.
        """
        if not self._direct:
            return self.call(lambda client: _run(client, script, keys, arguments))
        pool = self._pool
        if not pool.acquire(self._failures.timeout):
            raise self._failures.contended(pool.size)
        try:
            try:
                return pool.call(encode_call(script, keys, arguments))
            except NoScriptError:
                return pool.call(encode_call(script, keys, arguments, by_name=False))
        except FAILURES as error:
            raise self._failures.meaning(error) from error
        finally:
            pool.release()

    def close(self) -> None:
        """Close the connections, when no call is in progress; a later call opens new ones."""
        if self._address is None or self._client is None:
            return
        if self._address.kind == "cluster":
            client, self._client = self._client, None
            ends = [node.redis_connection for node in client.get_nodes() if node.redis_connection is not None]
        else:
            ends = [self._client, *sentinel_clients(self._client)]
        for end in ends:
            end.connection_pool.disconnect()

    def _library_client(self) -> Any:
        if self._client is None:
            if self._address is None:
                raise ConfigurationError("this RedisStore has only an async_client: give it a client too, or a URL")
            with self._building:
                if self._client is None:
                    self._client = make_client(self._address, self._failures.timeout, asynchronous=False)
        return self._client


class _LoopClient:
    """The client, permits and batcher of one event loop."""

    def __init__(self, client: Any, batcher: Batcher | None) -> None:
        self.client = client
        self.permits = asyncio.Semaphore(MAX_LOOP_CONNECTIONS)
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
        own = [self.client] if self.batcher is None else [self.client, self.batcher.client]
        return [client for one in own for client in (one, *sentinel_clients(one))]


class AsyncClient:
    """The clients of all event loops: one each for `address`, or the user's own (None if only a sync one was given).

    `batching` is the deciding script and the builder of its arguments, or None if decisions are not batched.
    """

    def __init__(
        self,
        address: Address | None,
        given: Any,
        failures: Failures,
        batching: tuple[Script, Arguments] | None,
    ) -> None:
        self._address = address
        self._given = given
        self._failures = failures
        self._batching = None if address is None or address.kind == "cluster" else batching
        self._renew()
        _of_this_process.add(self)

    def _renew(self) -> None:
        """Start without clients: the others belong to event loops of a parent process."""
        self._loops = PerLoop(partial(_loop_client, cast("Address", self._address), self._failures, self._batching))
        self._recent: Callable[[], Batcher | None] = _none

    @property
    def flaw(self) -> OptionError | None:
        """The error of a store that was given only a sync client."""
        if self._address is not None or self._given is not None:
            return None
        return OptionError(
            "this RedisStore has only a sync client, and an async application or ahit() needs another: write "
            "RedisStore(client=..., async_client=redis.asyncio.Redis(...)), or give it a URL"
        )

    async def call(self, work: Callable[[Any], Awaitable[Any]]) -> Any:
        """Acquire a permit, then wait for the reply, each within the deadline; raises StoreError on any failure."""
        if self._address is None:
            return await self._through_given_client(work)
        own = self._loops.get()
        permits, timeout = own.permits, self._failures.timeout
        try:
            async with asyncio.timeout(timeout if permits.locked() else None):
                await permits.acquire()
        except TimeoutError:
            raise self._failures.contended(MAX_LOOP_CONNECTIONS) from None
        loop = asyncio.get_running_loop()
        try:
            async with Deadline(loop, loop.time() + timeout, timeout):
                if self._address.kind == "cluster":
                    await own.prepared()
                return await work(own.client)
        except FAILURES as error:
            raise self._failures.meaning(error) from error
        finally:
            permits.release()

    async def run(self, script: Script, keys: Sequence[str], arguments: PackedArguments) -> Any:
        """Call a script, as Client.run does."""
        return await self.call(lambda client: _arun(client, script, keys, arguments))

    def batcher(self) -> Batcher | None:
        """The batcher of this event loop, or None if decisions are not batched."""
        if self._batching is None:
            return None
        recent = self._recent()
        if recent is None or recent.loop is not asyncio.get_running_loop():
            recent = self._loops.get().batcher
            self._recent = _none if recent is None else weakref.ref(recent)  # the loop may end, and its batcher with it
        return recent

    async def aclose(self) -> None:
        """Close this event loop's client; a later call opens a new one."""
        self._recent = _none
        await self._loops.aclose()

    async def _through_given_client(self, work: Callable[[Any], Awaitable[Any]]) -> Any:
        if self.flaw is not None:
            raise self.flaw
        try:
            return await work(self._given)
        except FAILURES as error:
            raise self._failures.meaning(error) from error


def _loop_client(address: Address, failures: Failures, batching: tuple[Script, Arguments] | None) -> _LoopClient:
    """A client for the running event loop."""
    client = make_client(address, failures.timeout, asynchronous=True)
    batcher = None
    if batching is not None:
        # A ReplyProtocol reads only RESP2.
        own = make_client(address.in_resp2(), failures.timeout, asynchronous=True, timed=False)
        if has_private_names(own, asynchronous=True):
            batcher = Batcher(own, *batching, failures)
    return _LoopClient(client, batcher)


def _none() -> None:
    """Stand in for a weak reference to nothing."""


def _run(client: Any, script: Script, keys: Sequence[str], arguments: PackedArguments) -> Any:
    try:
        return client.execute_command("EVALSHA", script.sha, len(keys), *keys, *arguments, **BYTES)
    except NoScriptError:
        return client.execute_command("EVAL", script.source, len(keys), *keys, *arguments, **BYTES)


async def _arun(client: Any, script: Script, keys: Sequence[str], arguments: PackedArguments) -> Any:
    """Do what `_run` does."""
    try:
        return await client.execute_command("EVALSHA", script.sha, len(keys), *keys, *arguments, **BYTES)
    except NoScriptError:
        return await client.execute_command("EVAL", script.source, len(keys), *keys, *arguments, **BYTES)


_of_this_process: weakref.WeakSet[Any] = each_in_forked_child(lambda client: client._renew())  # noqa: SLF001 - its own module
"""All clients, which must not use sockets, locks and event loops of a parent process."""
