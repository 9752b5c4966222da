"""Access to Redis: clients, their connections, deadlines and failures.

Every call has a deadline and is never retried automatically. The async API keeps one client per event
loop, because its sockets belong to that loop. A call first acquires a permit, so that having more callers
than connections does not look like an outage.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import weakref
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from time import monotonic
from typing import Any

from ratelimit_kit.core.fork import each_in_forked_child
from ratelimit_kit.errors import ConfigurationError, OptionError
from ratelimit_kit.stores import Charge
from ratelimit_kit.stores.event_loops import PerLoop
from ratelimit_kit.stores.pool import Permits
from ratelimit_kit.stores.redis.calls.library_calls import Read, aexecute, arun_script, execute, run_script
from ratelimit_kit.stores.redis.calls.replies import check_reply
from ratelimit_kit.stores.redis.calls.scripts import Script, encode_call, encode_command
from ratelimit_kit.stores.redis.calls.shapes import Shape
from ratelimit_kit.stores.redis.connections.pool import RedisConnections
from ratelimit_kit.stores.redis.connections.resp import Reply
from ratelimit_kit.stores.redis.deadline import within
from ratelimit_kit.stores.redis.driver import (
    CLUSTERS,
    FAILURES,
    NoScriptError,
    ResponseError,
    has_private_names,
    make_client,
    reading,
    room,
    sentinel_clients,
)
from ratelimit_kit.stores.redis.failures import Failures
from ratelimit_kit.stores.redis.pipeline.batching import Batcher
from ratelimit_kit.stores.redis.pipeline.loop_client import GivenClient, LoopClient, loop_client
from ratelimit_kit.stores.redis.pipeline.timeout import Deadline
from ratelimit_kit.stores.redis.url import Address
from ratelimit_kit.waiting import in_thread, is_trio


def is_cluster(client: Any) -> bool:
    """Whether a user's client is for a cluster, where a call may touch only one slot."""
    return isinstance(client, CLUSTERS)


class Client:
    """The sync client of this process: one for `address`, or the user's own (None if only an async one was given)."""

    def __init__(self, address: Address | None, given: Any, failures: Failures) -> None:
        self._address = address
        self._failures = failures
        self._given = given
        self._renew()
        _of_this_process.add(self)

    def _renew(self) -> None:
        """Start with a new client: a parent process, or its threads, may be using the other one, and hold its locks."""
        self._client, self._direct, address = self._given, False, self._address
        if address is not None and address.kind != "cluster":  # a cluster client connects when it is created
            self._client = make_client(address, self._failures.timeout, asynchronous=False)
            self._direct = has_private_names(self._client, asynchronous=False)
        self._pool = RedisConnections(
            room(self._client), self._client.connection_pool if self._direct else None, self._failures.timeout
        )
        self._building = Permits(1)

    @property
    def exists(self) -> bool:
        """Whether there is one: not if only an async one was given."""
        return self._address is not None or self._given is not None

    def call(self, work: Callable[[Any], Any], *, timed: bool = True) -> Any:
        """Acquire a permit, then run `work` on the client; raises StoreError on any failure.

        The deadline is for all of it; without `timed`, or with a user's client, for each step of it.
        """
        pool = self._pool
        deadline = monotonic() + self._failures.timeout if timed and self._address is not None else math.inf
        if not pool.permits.acquire(self._failures.timeout):
            raise self._failures.contended(pool.size)
        ready = monotonic()
        try:
            with within(deadline), reading():
                return work(self._library_client())
        except FAILURES as error:
            raise self._failures.of_call(error, ready, deadline, monotonic()) from error
        finally:
            pool.permits.release()

    def decide(self, shape: Shape, charges: Sequence[Charge]) -> Any:
        """Call the deciding script: over a connection of our own, or through a user's client or a cluster client.

        Returns what `shape.read` does. Only a call of a script that the server does not know is sent again, with the
        text: then nothing has run.
        """
        read = partial(shape.read, charges)
        if self._direct:
            return self._send(shape.encode(charges), read, lambda: shape.encode_batch([charges], by_name=False))
        keys = shape.keys(charges)
        return self.call(lambda client: run_script(client, shape.script, keys, shape.arguments, read))

    def run(self, script: Script, keys: Sequence[str], arguments: Sequence[Any], read: Read) -> Any:
        """Call another script likewise; `read` turns its reply into the result."""
        if self._direct:
            call = partial(encode_call, script, keys, arguments)
            return self._send(call(), read, partial(call, by_name=False))
        return self.call(lambda client: run_script(client, script, keys, arguments, read))

    def command(self, *arguments: str, expected: Reply) -> None:
        """Execute a command and check its reply, as `check_reply` does."""
        if not self._direct:
            self.call(lambda client: execute(client, *arguments))
        else:
            self._send(encode_command(*arguments), partial(check_reply, expected))

    def _send(self, command: bytes, read: Read, in_full: Callable[[], bytes] | None = None) -> Any:
        """Send a command over a connection of our own, and `in_full` what the server does not know by its name."""
        pool = self._pool
        ready = monotonic()
        deadline = ready + self._failures.timeout
        if not pool.permits.acquire(0):
            if not pool.permits.acquire(self._failures.timeout):
                raise self._failures.contended(pool.size)
            ready = monotonic()
        try:
            try:
                return pool.call(command, deadline, read)
            except NoScriptError:
                if in_full is None:
                    raise
                return pool.call(in_full(), deadline, read)
        except FAILURES as error:
            raise self._failures.of_call(error, ready, deadline, monotonic()) from error
        finally:
            pool.permits.release()

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
            if not self._building.acquire(self._failures.timeout):
                raise self._failures.contended(1)
            try:
                if self._client is None:
                    self._client = make_client(self._address, self._failures.timeout, asynchronous=False)
            finally:
                self._building.release()
        return self._client


class AsyncClient:
    """The clients of all event loops: one each for `address`, or the user's own (None if only a sync one was given).

    Decisions are batched with `batching`, else sent one by one over the same connection. redis-py knows no other loop than
    asyncio's: under trio threads use the sync `client`.
    """

    def __init__(
        self, address: Address | None, given: Any, failures: Failures, client: Client, *, batching: bool
    ) -> None:
        self._address = address
        self._given = given
        self._failures = failures
        self._direct = address is not None and address.kind != "cluster"
        self._batching = batching
        self._client = client
        self._renew()
        _of_this_process.add(self)

    def _renew(self) -> None:
        """Start without clients: the others belong to event loops of a parent process."""
        if self._address is None:
            make: Callable[[], LoopClient] = partial(GivenClient, self._given, self._failures.timeout)
        else:
            make = partial(loop_client, self._address, self._failures, direct=self._direct)
        self._loops = PerLoop(make)
        self._recent: Callable[[], Batcher | None] = _none

    @property
    def flaw(self) -> OptionError | None:
        """The error of a store that was given only a sync client; under trio that is the one that is used."""
        if self._address is not None or self._given is not None or is_trio():
            return None
        return OptionError(
            "this RedisStore has only a sync client, and an async application or ahit() needs another: write "
            "RedisStore(client=..., async_client=redis.asyncio.Redis(...)), or give it a URL"
        )

    async def call(self, work: Callable[[Any], Awaitable[Any]]) -> Any:
        """Acquire a permit, then wait for the reply, each within the deadline; raises StoreError on any failure."""
        if self.flaw is not None:
            raise self.flaw
        own = self._loops.get()
        permits, timeout = own.permits, self._failures.timeout
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        try:
            async with asyncio.timeout_at(deadline if permits.locked() else None):
                await permits.acquire()
        except TimeoutError:
            raise self._failures.contended(own.size) from None
        ready, client = loop.time(), own.client
        if self._address is None:  # a client of one's own times each step itself
            deadline = math.inf
        try:
            async with Deadline(loop, deadline, timeout) if self._address is not None else contextlib.nullcontext():
                with reading():
                    if is_cluster(client):
                        await own.prepared()
                    return await work(client)
        except FAILURES as error:
            if not isinstance(error, ResponseError):
                own.failed(client)
            raise self._failures.of_call(error, ready, deadline, loop.time()) from error
        finally:
            permits.release()

    async def decide(self, shape: Shape, charges: Sequence[Charge]) -> Any:
        """Call the deciding script, as Client.decide does."""
        if is_trio():
            return await in_thread(self._client.decide, shape, charges)
        batcher, read = self._pipelined(), partial(shape.read, charges)
        if batcher is not None:
            return await batcher.call(partial(shape.encode_batch, [charges]), read)
        keys = shape.keys(charges)
        return await self.call(lambda client: arun_script(client, shape.script, keys, shape.arguments, read))

    async def run(self, script: Script, keys: Sequence[str], arguments: Sequence[Any], read: Read) -> Any:
        """Call another script, as Client.run does."""
        if is_trio():
            return await in_thread(self._client.run, script, keys, arguments, read)
        batcher = self._pipelined()
        if batcher is not None:
            return await batcher.call(partial(encode_call, script, keys, arguments), read)
        return await self.call(lambda client: arun_script(client, script, keys, arguments, read))

    async def command(self, *arguments: str, expected: Reply) -> None:
        """Execute a command, as Client.command does."""
        if is_trio():
            await in_thread(partial(self._client.command, *arguments, expected=expected))
            return
        batcher = self._pipelined()
        if batcher is None:
            await self.call(lambda client: aexecute(client, *arguments))
        else:
            packed = encode_command(*arguments)
            await batcher.call(lambda **_: packed, partial(check_reply, expected))

    def batcher(self) -> Batcher | None:
        """The batcher of this event loop, or None if decisions are not batched."""
        return self._pipelined() if self._batching and not is_trio() else None

    def _pipelined(self) -> Batcher | None:
        """What calls of this event loop travel over one connection with; None if that cannot be had."""
        recent = self._recent()
        if recent is not None and recent.loop is asyncio.get_running_loop():
            return recent
        recent = self._loops.get().batcher if self._direct else None
        self._recent = _none if recent is None else weakref.ref(recent)  # the loop may end, and its batcher with it
        return recent

    async def aclose(self) -> None:
        """Close this event loop's client; a later call opens a new one."""
        self._recent = _none
        await self._loops.aclose()
        if is_trio():
            await in_thread(self._client.close)


def _none() -> None:
    """Stand in for a weak reference to nothing."""


_of_this_process: weakref.WeakSet[Any] = each_in_forked_child(lambda client: client._renew())  # noqa: SLF001 - its own module
"""All clients, which must not use sockets, locks and event loops of a parent process."""
