"""Cached denials end with any reset or refund in this process, on the store itself as well as through a limiter."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from typing import Any

import pytest

from ratelimit_kit import Charge, Decision, FixedWindow, MemcachedStore, RedisStore
from ratelimit_kit.guarded_store import GuardedStore
from ratelimit_kit.outage import Meanwhile
from tests.clusters import cluster_servers
from tests.processes import Process, RedisServer

pytestmark = [pytest.mark.live, pytest.mark.about("denials")]

LIMIT = FixedWindow(5, per="day")
CHARGES = [Charge("key", LIMIT, 1)]

prefixes = (f"d{number}" for number in itertools.count())


@pytest.fixture(params=["redis", "memcached"])
def store(request: pytest.FixtureRequest, redis: RedisServer, memcached: Process) -> Iterator[Any]:
    opened: Any = (
        RedisStore(redis.url(), prefix=next(prefixes), timeout=5)
        if request.param == "redis"
        else MemcachedStore(f"memcached://127.0.0.1:{memcached.port}", prefix=next(prefixes), timeout=5)
    )
    yield opened
    opened.close()


def ask(guarded: GuardedStore, charges: list[Charge] = CHARGES) -> Decision:
    return guarded.decide(charges, Meanwhile("deny"))


def spent(guarded: GuardedStore) -> None:
    """Spend the quota, and check that the next denial comes from the cache."""
    ask(guarded, [Charge("key", LIMIT, 5)])
    assert [ask(guarded).cached for _ in range(2)] == [False, True]


@pytest.mark.parametrize("name", ["reset", "refund"])
def test_a_reset_or_a_refund_of_the_store_itself_is_heard_of(store: Any, name: str) -> None:
    guarded = GuardedStore(store)
    spent(guarded)
    getattr(store, name)(CHARGES)
    decision = ask(guarded)
    assert (decision.allowed, decision.cached) == (True, False)


@pytest.mark.parametrize("name", ["areset", "arefund"])
def test_so_it_is_where_it_was_awaited(store: Any, name: str) -> None:
    async def undo() -> None:
        await getattr(store, name)(CHARGES)
        await store.aclose()

    guarded = GuardedStore(store)
    spent(guarded)
    asyncio.run(undo())
    decision = ask(guarded)
    assert (decision.allowed, decision.cached) == (True, False)


def test_a_store_that_was_emptied_denies_nobody_from_memory(redis: RedisServer) -> None:
    store = RedisStore(redis.url(), prefix=next(prefixes), timeout=5)
    guarded = GuardedStore(store)
    spent(guarded)
    store.clear()
    assert ask(guarded).allowed
    store.close()


def test_what_a_cluster_gives_back_by_itself_ends_no_memory() -> None:
    with cluster_servers() as servers:
        store = RedisStore(servers.url(), prefix="d", timeout=5)
        guarded = GuardedStore(store)
        open_to = FixedWindow(100, per="day")
        for number in range(20):  # enough keys for some to be on nodes before and some after the spent key's
            charges = [Charge(f"other {number}", open_to, 1), Charge(f"spent {number}", LIMIT, 5)]
            assert ask(guarded, charges).allowed
            assert [ask(guarded, charges).cached for _ in range(2)] == [False, True]
            assert ask(guarded, [Charge(f"other {number}", open_to, 1)]).verdicts[0].remaining == 98
        store.close()
