"""How Redis is reached: clients, their connections, deadlines, and what a failure means.

Every call keeps to a deadline and is never repeated by itself. The asyncio face keeps one client
per event loop, for its sockets belong to that loop. A call first waits for its turn: more callers
than connections are told apart from an outage, so that a flood does not look like one.
"""

from __future__ import annotations

import asyncio
import os
import weakref
from collections.abc import Callable, Sequence
from threading import Lock
from typing import Any, NamedTuple

from ratelimit_kit.errors import (
    ConfigurationError,
)
from ratelimit_kit.stores.pool import Turns
from ratelimit_kit.stores.redis.batching import Merger
from ratelimit_kit.stores.redis.driver import (
    CLUSTERS,
    CONNECTIONS,
    FAILURES,
    NEVER_DECODE,
    NoScriptError,
    opened,
    watchers,
)
from ratelimit_kit.stores.redis.failures import Failures
from ratelimit_kit.stores.redis.pool import Lines
from ratelimit_kit.stores.redis.scripts import Arguments, Script, Words, call_of
from ratelimit_kit.stores.redis.timeout import Deadline
from ratelimit_kit.stores.redis.url import read_address
from ratelimit_kit.stores.urls import redacted

__all__ = ["Clients"]

LOOP_CONNECTIONS = 16
"""Connections per event loop at most: enough to keep it busy; more tasks wait for a turn within the deadline."""

BYTES: Any = {NEVER_DECODE: True}
"""Answers are packed numbers, also for a client that makes texts of all others."""

Merging = tuple[Script, Arguments]
"""The script that decides, and who makes its arguments."""


class _OfALoop(NamedTuple):
    """What an event loop has for itself."""

    client: Any
    turns: asyncio.Semaphore
    merger: Merger | None


class Clients:
    """A client for this process and one for each event loop, from a URL, or those that the user gave."""

    def __init__(
        self, url: str | None, client: Any, async_client: Any, timeout: float, *, merging: Merging | None = None
    ) -> None:
        self._url = url
        self._address = None if url is None else read_address(url)
        self._timeout = timeout
        self._merging = merging
        self.given = [one for one in (client, async_client) if one is not None]
        self._failures = Failures(str(self), timeout, clustered=self.clustered)
        self._client = client
        self._async_client = async_client
        if self._address is not None and self._address.kind != "cluster":  # which asks the network at once
            self._client = opened(self._address, self._timeout, self._url, asynchronous=False)
        self._renew()
        _all.add(self)

    def _renew(self) -> None:
        """Turns that nobody has taken, and no client of another process's event loops."""
        self._turns = Turns(CONNECTIONS)
        single = self._url is not None and self._client is not None and not self.clustered
        self._lines = Lines(self._client.connection_pool) if single else None
        self._building = Lock()
        self._recent: Merger | None = None
        self._loops: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _OfALoop]
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
        return any(isinstance(client, CLUSTERS) for client in self.given)

    def call(self, work: Callable[[Any], Any]) -> Any:
        """Wait for a turn, then run `work` on the client; StoreError for whatever went wrong."""
        turns = self._turns
        if not turns.take(self._timeout):
            raise self._failures.contended(CONNECTIONS)
        try:
            return work(self._own_client())
        except FAILURES as error:
            raise self._failures.meaning(error) from error
        finally:
            turns.give_back()

    async def acall(self, work: Callable[[Any], Any]) -> Any:
        """Wait for a turn and then for the answer, each within the deadline."""
        if self._url is None:
            return await self._through_own_client(work)
        client, turns, _ = self._of_this_loop()
        try:
            async with asyncio.timeout(self._timeout if turns.locked() else None):
                await turns.acquire()
        except TimeoutError:
            raise self._failures.contended(LOOP_CONNECTIONS) from None
        loop = asyncio.get_running_loop()
        try:
            async with Deadline(loop, loop.time() + self._timeout, self._timeout):
                if self.clustered:
                    await self._prepared(client)
                return await work(client)
        except FAILURES as error:
            raise self._failures.meaning(error) from error
        finally:
            turns.release()

    def run(self, script: Script, keys: Sequence[str], arguments: Words) -> Any:
        """Call a script: over a connection of ours, or by a client that the user gave or that knows a cluster."""
        return self.call(lambda client: self._script(client, script, keys, arguments))

    async def arun(self, script: Script, keys: Sequence[str], arguments: Words) -> Any:
        """Do what `run` does."""

        async def work(client: Any) -> Any:
            try:
                return await client.execute_command("EVALSHA", script.sha, len(keys), *keys, *arguments, **BYTES)
            except NoScriptError:
                return await client.execute_command("EVAL", script.source, len(keys), *keys, *arguments, **BYTES)

        return await self.acall(work)

    def _script(self, client: Any, script: Script, keys: Sequence[str], arguments: Words) -> Any:
        """Only what the server says it does not know is sent again, with its text: then nothing has run."""
        lines = self._lines
        try:
            if lines is not None:
                return lines.call(call_of(script, keys, arguments))
            return client.execute_command("EVALSHA", script.sha, len(keys), *keys, *arguments, **BYTES)
        except NoScriptError:
            if lines is not None:
                return lines.call(call_of(script, keys, arguments, by_name=False))
            return client.execute_command("EVAL", script.source, len(keys), *keys, *arguments, **BYTES)

    def merger(self) -> Merger | None:
        """Who sends decisions of this event loop together, where that is done."""
        if self._merging is None or self._url is None:
            return None
        recent = self._recent
        if recent is None or recent.loop is not asyncio.get_running_loop():
            recent = self._recent = self._of_this_loop().merger
        return recent

    def close(self) -> None:
        """Close the connections, when no call is under way; a later call opens new ones."""
        if self._address is None or self._client is None:
            return
        if self._address.kind == "cluster":
            client, self._client = self._client, None
            ends = [node.redis_connection for node in client.get_nodes() if node.redis_connection is not None]
        else:
            ends = [self._client, *watchers(self._client)]
        for end in ends:
            end.connection_pool.disconnect()

    async def aclose(self) -> None:
        """Close this event loop's client; a later call opens a new one."""
        loop = asyncio.get_running_loop()
        client, _, merger = self._loops.pop(loop, (None, None, None))
        self._recent = None
        if loop in self._preparing:
            self._preparing.pop(loop).cancel()
        if merger is not None:
            await merger.aclose()
        for one in (client, None if merger is None else merger.client):
            if one is not None:
                await one.aclose()
                for watcher in watchers(one):
                    await watcher.aclose()

    def _own_client(self) -> Any:
        if self._client is None:
            if self._address is None:
                raise ConfigurationError("this RedisStore has only an async_client: give it a client too, or a URL")
            with self._building:
                if self._client is None:
                    self._client = opened(self._address, self._timeout, self._url, asynchronous=False)
        return self._client

    async def _through_own_client(self, work: Callable[[Any], Any]) -> Any:
        if self._async_client is None:
            raise ConfigurationError("this RedisStore has only a sync client: give it an async_client too, or a URL")
        try:
            return await work(self._async_client)
        except FAILURES as error:
            raise self._failures.meaning(error) from error

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

    def _of_this_loop(self) -> _OfALoop:
        loop = asyncio.get_running_loop()
        if loop not in self._loops:
            assert self._address is not None
            client = opened(self._address, self._timeout, self._url, asynchronous=True)
            merger = None
            if self._merging is not None and not self.clustered:
                address = self._address.in_resp2()  # which is what a Wire reads
                own = opened(address, self._timeout, self._url, asynchronous=True, timed=False)
                merger = Merger(own, *self._merging, self._timeout, self._failures)
            self._loops[loop] = _OfALoop(client, asyncio.Semaphore(LOOP_CONNECTIONS), merger)
        return self._loops[loop]


_all: weakref.WeakSet[Clients] = weakref.WeakSet()


def _renew_after_fork() -> None:
    """In a forked child: a turn that another thread of the parent held would never come back."""
    for clients in list(_all):
        clients._renew()  # noqa: SLF001 - its own module


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_after_fork)
