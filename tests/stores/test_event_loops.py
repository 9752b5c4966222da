"""What belongs to an event loop ends with it, however it ends, and with its owner."""

from __future__ import annotations

import asyncio
import gc
import os
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from typing import Any

import pytest

from ratelimit_kit.stores.event_loops import PerLoop
from tests.guard.test_socket_locks import in_child

REQUEST: ContextVar[Any] = ContextVar("REQUEST")


class Connection:
    """A resource that refers to its loop, as all of them do."""

    ends: list[str]

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()

    async def aclose(self) -> None:
        assert asyncio.get_running_loop() is self.loop
        await asyncio.sleep(0)
        self.ends.append("closed")

    def abort(self, *, loop_closed: bool) -> None:
        assert self.loop.is_closed() is loop_closed
        self.ends.append("abandoned" if loop_closed else "aborted")


@pytest.fixture
def ends(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """How the connections of a test have ended."""
    found: list[str] = []
    monkeypatch.setattr(Connection, "ends", found, raising=False)
    return found


async def get(owner: PerLoop[Connection]) -> Connection:
    return owner.get()


def in_order(work: Callable[[], Any]) -> weakref.ref[Any]:
    async def main() -> weakref.ref[Any]:
        await work()
        return weakref.ref(asyncio.get_running_loop())

    return asyncio.run(main())


def at_once(work: Callable[[], Any]) -> weakref.ref[Any]:
    """A loop that is closed without having closed its generators."""
    loop = asyncio.new_event_loop()
    loop.run_until_complete(work())
    loop.close()
    return weakref.ref(loop)


def test_a_loop_has_one_until_it_ends(ends: list[str]) -> None:
    owner = PerLoop(Connection)

    async def twice() -> bool:
        return owner.get() is owner.get()

    assert asyncio.run(twice())
    assert ends[:1] == ["closed"]


def test_a_loop_that_is_closed_at_once_ends_it_at_once(ends: list[str]) -> None:
    owner = PerLoop(Connection)
    at_once(lambda: get(owner))
    assert ends == ["abandoned"]


@pytest.mark.parametrize("way", [in_order, at_once])
@pytest.mark.parametrize("threads", [False, True], ids=["here", "in threads"])
def test_no_loop_is_kept(ends: list[str], way: Callable[..., weakref.ref[Any]], threads: bool) -> None:
    owner = PerLoop(Connection)
    if threads:
        loops = []
        for _ in range(20):
            with ThreadPoolExecutor(1) as thread:
                loops.append(thread.submit(way, lambda: get(owner)).result())
    else:
        loops = [way(lambda: get(owner)) for _ in range(20)]
    gc.collect()
    assert [loop() for loop in loops] == [None] * 20
    assert len(owner._held) == 0
    assert ends.count("closed" if way is in_order else "abandoned") == 20


async def test_an_owner_that_is_dropped_leaves_nothing_on_a_loop_that_goes_on(ends: list[str]) -> None:
    known = []
    for _ in range(20):
        known.append(weakref.ref(PerLoop(Connection).get()))
        await asyncio.sleep(0)
    for _ in range(10):
        await asyncio.sleep(0)
    gc.collect()
    assert ends == ["aborted"] * 20
    assert [one() for one in known] == [None] * 20


@pytest.mark.parametrize("way", [in_order, at_once])
def test_an_owner_that_is_dropped_at_the_end_of_its_loop_leaves_no_task(
    ends: list[str], way: Callable[..., weakref.ref[Any]], caplog: pytest.LogCaptureFixture
) -> None:
    loops = [way(lambda: get(PerLoop(Connection))) for _ in range(20)]
    gc.collect()
    assert [loop() for loop in loops] == [None] * 20
    assert len(ends) >= 20
    assert caplog.records == []


async def test_one_that_was_closed_is_made_anew(ends: list[str]) -> None:
    owner = PerLoop(Connection)
    first = owner.get()
    await owner.aclose()
    assert ends == ["closed"]
    await owner.aclose()
    assert ends == ["closed"]
    assert owner.get() is not first


def test_the_request_that_came_first_is_not_kept(ends: list[str]) -> None:
    owner = PerLoop(Connection)

    async def main() -> bool:
        async def request() -> weakref.ref[Any]:
            found = Connection()
            REQUEST.set(found)
            owner.get()
            return weakref.ref(found)

        first = await asyncio.create_task(request())
        await asyncio.sleep(0)  # the loop's last callback came from that task
        gc.collect()
        return first() is None

    assert asyncio.run(main())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked on POSIX only")
def test_a_forked_child_leaves_its_parents_connections_alone(ends: list[str]) -> None:
    owner = [PerLoop(Connection)]
    loop = asyncio.new_event_loop()
    loop.run_until_complete(get(owner[0]))

    def child() -> list[str]:
        owner.clear()
        loop.close()
        gc.collect()
        return ends

    assert in_child(child) == "[]"
    loop.close()
    assert ends == ["abandoned"]
