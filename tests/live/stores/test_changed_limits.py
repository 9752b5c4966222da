"""Versions of an application that serve at the same time with different numbers, on real servers and under load."""

from __future__ import annotations

import asyncio

import pytest

from ratelimit_kit import Charge, Limiter, MemcachedStore, Policy, QuotaError, RedisStore, Rule, SlidingWindow
from tests.live.hammer import hammer, most_before, most_in_any_window
from tests.processes import Process, RedisServer

pytestmark = pytest.mark.live

SECONDS = 8


@pytest.mark.parametrize("store", ["redis", "memcached"])
def test_two_versions_under_load_each_keep_their_number_over_the_one_log(
    store: str, redis: RedisServer, memcached: Process
) -> None:
    url = redis.url() if store == "redis" else f"memcached://127.0.0.1:{memcached.port}"
    high, low = "60/second", "25/second"
    admissions = hammer(url, high, low, processes=4, threads=2, seconds=SECONDS)
    assert {one.limit for one in admissions} >= {high}
    assert most_in_any_window(admissions, 1.0) <= 60
    assert most_before(admissions, low, 1.0) <= 25
    assert len(admissions) >= 45 * SECONDS  # and they are not refused for nothing


@pytest.mark.parametrize("text", ["{}/minute", "token-bucket: {}/minute", "fixed-window: {}/day"])
async def test_a_raised_number_is_not_refused_by_what_a_cache_remembers(redis: RedisServer, text: str) -> None:
    url = redis.url()
    low = Limiter(text.format(2), store=RedisStore(url), name="raised")
    high = Limiter(text.format(3), store=RedisStore(url), name="raised")
    assert [low.hit("key").allowed for _ in range(3)] == [True, True, False]
    assert low.hit("key").cached
    assert high.hit("key").allowed
    assert not (await high.ahit("key")).cached
    assert high.hit("key").cached
    await asyncio.gather(low.aclose(), high.aclose())
    low.close()
    high.close()


def test_a_limit_that_could_outgrow_an_item_is_refused_when_it_meets_the_store(memcached: Process) -> None:
    store = MemcachedStore(f"memcached://127.0.0.1:{memcached.port}")
    large = SlidingWindow(50_000, per="day", resolution=50_000)
    with pytest.raises(QuotaError, match="choose a lower resolution"):
        Limiter(large, store=store)
    with pytest.raises(QuotaError, match="choose a lower resolution"):
        Policy(Rule(large), store=store)
    with pytest.raises(QuotaError, match="choose a lower resolution"):
        Policy(Rule("5/minute"), store=store).bind(Rule(large), "page")
    with pytest.raises(QuotaError, match="choose a lower resolution"):
        Limiter("5/minute", store=store).store.decide([Charge("key", large)])
    largest = SlidingWindow(50_000, per="day", resolution=14_000)
    assert Limiter(largest, store=store).hit("largest").allowed
    store.close()
