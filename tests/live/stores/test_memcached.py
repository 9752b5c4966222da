"""The Memcached store on a real memcached: races, long periods, stopped servers."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from pymemcache.client.base import Client

from ratelimit_kit import Charge, FixedWindow, Limiter, MemcachedStore, SlidingWindow, TokenBucket
from ratelimit_kit.errors import StoreContendedError, StoreUnavailableError
from ratelimit_kit.stores.memcached.commands import Write, Writes
from tests.processes import Process, memcached_server

pytestmark = pytest.mark.live

DAY = 86_400

DESCRIPTORS = Path("/proc/self/fd")


def opened(server: Process, prefix: str, *, timeout: float = 5, **options: Any) -> MemcachedStore:
    return MemcachedStore(f"memcached://127.0.0.1:{server.port}", prefix=prefix, timeout=timeout, **options)


class Meddling:
    """Carries out conversations, but has another client write each state before the store does.

    The short way of a single hit is disabled: after a competing write it would fall back to a conversation anyway.
    """

    def __init__(self, store: MemcachedStore, meddle: Any) -> None:
        client: Any = store._client
        client._hit = lambda *_: None
        self._requests = client._servers.requests
        self._meddle = meddle
        client._servers.requests = self.requests

    def requests(self, step: Any) -> Any:
        for write in step.writes if isinstance(step, Writes) else ():
            self._meddle(write)
        return self._requests(step)


def test_a_state_that_others_always_change_is_given_up_and_never_fails_open(memcached: Process) -> None:
    store, other = opened(memcached, "busy", timeout=0.25), opened(memcached, "busy")
    limit = SlidingWindow(100_000, per=60)
    charge = Charge("default:key", limit)
    asked = []

    def charge_too(_: Write) -> None:
        asked.append(1)
        other.decide([charge])

    Meddling(store, charge_too)
    with pytest.raises(StoreContendedError, match=r"changing a counter for 0\.25 s, nothing was charged \[RLK302\]"):
        store.decide([charge])
    assert len(asked) > 1
    assert other.decide([charge._replace(cost=0)])[0].remaining == 100_000 - len(asked)
    decision = Limiter(limit, store=store, on_outage="allow").hit("key")
    assert decision.degraded
    assert not decision.allowed
    for one in (store, other):
        one.close()


def test_a_contended_limit_leaves_nothing_charged_under_the_others(memcached: Process) -> None:
    store, other = opened(memcached, "back", timeout=0.5), opened(memcached, "back")
    first, second = Charge("user", TokenBucket(10, per=3600)), Charge("global", SlidingWindow(100_000, per=3600))
    Meddling(store, lambda write: other.decide([second]) if "global" in write.key else None)
    with pytest.raises(StoreContendedError):
        store.decide([first, second])
    assert other.decide([first._replace(cost=0)])[0].remaining == 10
    for one in (store, other):
        one.close()


def test_what_a_later_limit_refuses_in_a_race_is_given_back(memcached: Process) -> None:
    """Another process uses up the second limit between this one's read and its write."""
    store, other = opened(memcached, "race"), opened(memcached, "race")
    first, second = Charge("user", TokenBucket(10, per=3600)), Charge("global", SlidingWindow(1, per=3600))
    Meddling(store, lambda step: other.decide([second]) if "user" in step.key and step.found is None else None)
    assert [verdict.allowed for verdict in store.decide([first, second])] == [True, False]
    assert other.decide([first._replace(cost=0)])[0].remaining == 10
    for one in (store, other):
        one.close()


def test_many_threads_of_two_processes_over_two_limits_admit_what_the_tighter_one_says(memcached: Process) -> None:
    stores = [opened(memcached, "two"), opened(memcached, "two")]
    charges = [Charge("user", SlidingWindow(20, per=3600)), Charge("global", TokenBucket(7, per=3600))]
    barrier = threading.Barrier(40)

    def hit(number: int) -> bool:
        barrier.wait()
        return all(verdict.allowed for verdict in stores[number % 2].decide(charges))

    with ThreadPoolExecutor(40) as pool:
        admitted = sum(pool.map(hit, range(40)))
    assert 1 <= admitted <= 7
    left = stores[0].decide([charge._replace(cost=0) for charge in charges])
    assert [verdict.remaining for verdict in left] == [20 - admitted, 7 - admitted]
    for store in stores:
        store.close()


@pytest.mark.parametrize(
    "limit",
    [SlidingWindow(2, per=40 * DAY), TokenBucket(2, per=90 * DAY), FixedWindow(2, per="month")],
    ids=str,
)
def test_a_period_of_more_than_thirty_days_is_remembered(memcached: Process, limit: Any) -> None:
    """Memcached takes an expiry above 30 days for a Unix timestamp: given in seconds, it would expire at once."""
    store = opened(memcached, "long")
    charge = Charge("key", limit)
    assert [store.decide([charge])[0].allowed for _ in range(3)] == [True, True, False]
    client = Client(("127.0.0.1", memcached.port))
    expires = int(client.raw_command(f"mg {store._conversations._states.key(charge)} t").decode().removeprefix("HD t"))
    client.close()
    reset = store.decide([charge._replace(cost=0)])[0].reset_after
    assert reset <= expires <= reset + 5  # its clock may be a second and a half behind
    store.close()


def test_a_server_that_hangs_costs_one_deadline() -> None:
    with memcached_server() as server:
        store = MemcachedStore(f"memcached://127.0.0.1:{server.port}")
        charges = [Charge("key", SlidingWindow(9, per=60))]
        assert store.decide(charges)[0].remaining == 8
        with server.hanging():
            for work in (lambda: store.decide(charges), lambda: asyncio.run(_once(store, charges))):
                begun = time.monotonic()
                with pytest.raises(StoreUnavailableError, match=r"no reply within 0\.25 s"):
                    work()
                assert time.monotonic() - begun < 2
        assert store.decide([charges[0]._replace(cost=0)])[0].remaining >= 7
        store.close()


async def _once(store: MemcachedStore, charges: list[Charge]) -> object:
    return await store.adecide(charges)


@pytest.mark.parametrize("callers", [8, 24, 64])
@pytest.mark.parametrize("api", ["sync", "async"])
def test_the_first_call_after_a_restart_is_decided_by_the_server(api: str, callers: int) -> None:
    """However many connections of before the restart the pool holds, and whatever failed meanwhile."""
    with memcached_server() as server, asyncio.Runner() as runner, ThreadPoolExecutor(callers) as pool:
        store = opened(server, "restart")
        port = server.port
        charges = [[Charge(f"key {number}", SlidingWindow(9, per=60))] for number in range(callers)]

        async def all_at_once() -> list[Any]:
            return await asyncio.gather(*[store.adecide(one) for one in charges], return_exceptions=True)

        def outcomes() -> list[Any]:
            if api == "async":
                return runner.run(all_at_once())
            calls = [pool.submit(store.decide, one) for one in charges]
            return [call.exception() or call.result() for call in calls]

        def first() -> int:
            return (runner.run(store.adecide(charges[0])) if api == "async" else store.decide(charges[0]))[0].remaining

        assert [one[0].remaining for one in outcomes()] == [8] * callers
        server.stop()
        assert {type(one) for one in outcomes()} == {StoreUnavailableError}
        with memcached_server(port=port) as again:
            assert first() == 8
            assert [one[0].remaining for one in outcomes()] == [7] + [8] * (callers - 1)
            again.stop()
            with memcached_server(port=port):  # this time nobody has asked meanwhile
                assert first() == 8
        runner.run(store.aclose())


def connections(server: Process) -> int:
    client = Client(("127.0.0.1", server.port), timeout=5, connect_timeout=5)
    try:
        return client.stats()[b"curr_connections"]
    finally:
        client.close()


def descriptors() -> int:
    gc.collect()
    return sum(1 for _ in DESCRIPTORS.iterdir())


@pytest.mark.skipif(not DESCRIPTORS.is_dir(), reason="descriptors are counted in /proc")
@pytest.mark.parametrize("ends", ["calmly", "in the middle of calls", "without being closed"])
def test_event_loops_that_end_without_aclose_leave_nothing_open(memcached: Process, ends: str) -> None:
    store = opened(memcached, "loops")
    charges = [Charge("key", TokenBucket(100_000, per=3600))]

    async def calls() -> None:
        await store.adecide(charges)
        if ends == "in the middle of calls":
            asyncio.get_running_loop().stop_early = [  # type: ignore[attr-defined]
                asyncio.create_task(_once(store, charges)) for _ in range(3)
            ]
            await asyncio.sleep(0)

    def one() -> None:
        if ends == "without being closed":
            loop = asyncio.new_event_loop()
            loop.run_until_complete(calls())
            loop.close()
        else:
            asyncio.run(calls())

    for _ in range(3):
        one()
    before, threads, open_before = descriptors(), threading.active_count(), connections(memcached)
    for _ in range(100):
        one()
    assert descriptors() <= before + 3
    assert threading.active_count() <= threads
    until = time.monotonic() + 10
    while connections(memcached) > open_before + 3 and time.monotonic() < until:
        time.sleep(0.01)
    assert connections(memcached) <= open_before + 3
    store.close()


async def test_a_store_that_is_dropped_in_a_running_loop_closes_its_connections(memcached: Process) -> None:
    await opened(memcached, "dropped").adecide([Charge("key", TokenBucket(9, per=60))])
    gc.collect()
    await asyncio.sleep(0)
    before = descriptors()
    for number in range(20):
        store = opened(memcached, "dropped")
        assert await store.adecide([Charge(f"key {number}", TokenBucket(9, per=60))])
        del store
        gc.collect()
        await asyncio.sleep(0)
    assert descriptors() <= before


def test_a_forked_child_has_connections_and_turns_of_its_own_in_both_apis(memcached: Process) -> None:
    store = opened(memcached, "fork")
    charges = [Charge("key", TokenBucket(1000, per=3600))]
    with asyncio.Runner() as runner:
        assert runner.run(store.adecide(charges))[0].remaining == 999
        assert store.decide(charges)[0].remaining == 998
        key = store._conversations.decision(charges).keys
        store._client._turns.take(key)
        child = os.fork()
        if child == 0:
            allowed = [store.decide(charges)[0].allowed for _ in range(20)]
            allowed += [asyncio.run(_once(store, charges))[0].allowed for _ in range(20)]  # type: ignore[index]
            os._exit(0 if all(allowed) else 1)
        store._client._turns.leave(key)
        mine = [runner.run(store.adecide(charges))[0].allowed for _ in range(20)]
        mine += [store.decide(charges)[0].allowed for _ in range(20)]
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert all(mine)
        assert runner.run(store.adecide([charges[0]._replace(cost=0)]))[0].remaining == 1000 - 82
        runner.run(store.aclose())


async def test_many_tasks_share_one_connection(memcached: Process) -> None:
    store, before = opened(memcached, "one"), connections(memcached)
    charges = [[Charge(f"key {number}", SlidingWindow(9, per=60))] for number in range(100)]
    verdicts = await asyncio.gather(*[store.adecide(one) for one in charges])
    assert [one[0].remaining for one in verdicts] == [8] * 100
    assert connections(memcached) <= before + 1
    await store.aclose()


async def test_a_log_of_many_kilobytes_is_written_and_read_in_pieces(memcached: Process) -> None:
    now = [1_800_000_000 * 10**9]
    store = opened(memcached, "large", clock=lambda: now[0])
    charge = Charge("key", SlidingWindow(9000, per=86_400, resolution=9000))
    for _ in range(1500):
        now[0] += 10**7
        await store.adecide([charge])
    verdicts = [store.decide([charge])[0], (await store.adecide([charge]))[0]]
    assert [one.remaining for one in verdicts] == [9000 - 1501, 9000 - 1502]
    await store.aclose()
