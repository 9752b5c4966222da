"""The Memcached store on a real memcached: races, long periods, stopped servers."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from pymemcache.client.base import Client

from ratelimit_kit import Charge, FixedWindow, Limiter, MemcachedStore, SlidingWindow, TokenBucket
from ratelimit_kit.errors import StoreContendedError, StoreUnavailableError
from ratelimit_kit.stores.memcached import conversations as module
from ratelimit_kit.stores.memcached.client import Write
from tests.processes import Process, memcached_server

pytestmark = pytest.mark.live

DAY = 86_400


def opened(server: Process, prefix: str, **options: Any) -> MemcachedStore:
    return MemcachedStore(f"memcached://127.0.0.1:{server.port}", prefix=prefix, timeout=5, **options)


class Meddling:
    """Carries out conversations, but has another client write each state before the store does.

    The fast path for a single charge is disabled: after a competing write it would fall back to a conversation anyway.
    """

    def __init__(self, store: MemcachedStore, meddle: Any) -> None:
        store._servers.change = lambda *_: False  # type: ignore[method-assign]
        self._do = store._servers._do
        self._meddle = meddle
        store._servers._do = self.do  # type: ignore[method-assign]

    def do(self, step: Any) -> Any:
        if isinstance(step, Write):
            self._meddle(step)
        return self._do(step)


def test_a_state_that_others_always_change_is_given_up_and_never_fails_open(
    memcached: Process, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_ATTEMPTS", 5)
    store, other = opened(memcached, "busy"), opened(memcached, "busy")
    limit = SlidingWindow(1000, per=60)
    charge = Charge("default:key", limit)
    asked = []

    def charge_too(_: Write) -> None:
        asked.append(1)
        other.decide([charge])

    Meddling(store, charge_too)
    with pytest.raises(StoreContendedError, match=r"changed 5 times while it was read, nothing was charged \[RLK302\]"):
        store.decide([charge])
    assert len(asked) == 5
    assert other.decide([charge._replace(cost=0)])[0].remaining == 995
    decision = Limiter(limit, store=store, on_outage="allow").hit("key")
    assert decision.degraded
    assert not decision.allowed
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
    expires = int(client.raw_command(f"mg {store._conversations._key(charge)} t").decode().removeprefix("HD t"))
    client.close()
    reset = store.decide([charge._replace(cost=0)])[0].reset_after
    assert reset <= expires <= reset + 4
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
