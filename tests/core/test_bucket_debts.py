"""Token buckets under numbers that change: what is owed, until when, and what a refund leaves of it."""

from __future__ import annotations

from typing import Any

import pytest

from ratelimit_kit import Limiter, MemoryStore, TokenBucket
from ratelimit_kit.core.limit import Limit
from ratelimit_kit.testing import ManualClock

SECOND = 1_000_000
START = 1_800_000_000 * SECOND


def bucket(number: int, burst: int | None = None) -> TokenBucket:
    return TokenBucket(number, per=60, burst=burst)


def limiters(*limits: Limit) -> tuple[Any, ...]:
    clock = ManualClock(start=1_800_000_000)
    store = MemoryStore(clock=clock)
    return clock, *[Limiter(limit, store=store, name="x", workers=1) for limit in limits]


def test_the_wait_of_a_debt_is_true() -> None:
    clock, high, low = limiters(bucket(100), bucket(10))
    assert high.hit("key", 100)
    told = low.hit("key")
    assert (told.allowed, told.retry_after, told.reset_after) == (False, 60.0, 60.0)
    clock.advance(59.999999)
    assert not low.hit("key")
    clock.advance(0.000001)
    assert low.hit("key").remaining == 9


def test_a_hit_of_the_faster_version_does_not_forgive_what_the_slower_one_admitted() -> None:
    clock, high, low = limiters(bucket(100), bucket(10))
    assert sum(bool(low.hit("key")) for _ in range(30)) == 10
    assert high.hit("key")
    clock.advance(6.7)
    assert sum(bool(low.hit("key")) for _ in range(30)) <= 1


def test_a_refund_by_the_lowered_version_does_not_make_the_debt_longer() -> None:
    clock, high, low = limiters(bucket(1000), bucket(10))
    assert high.hit("key", 1000)
    low.refund("key")
    assert low.hit("key").retry_after <= 60
    clock.advance(60)
    assert low.hit("key")


@pytest.mark.parametrize("refund", [True, False])
def test_what_was_spent_outlives_a_limit_of_zero(refund: bool) -> None:
    clock, on, off = limiters(bucket(30, burst=1000), bucket(0))
    assert on.hit("key", 999)
    if refund:
        off.refund("key")
    assert not off.hit("key")
    clock.advance(4)
    assert on.peek("key").remaining <= 4


@pytest.mark.parametrize("limit", [bucket(5), bucket(0), bucket(100)])
def test_a_state_lives_for_as_long_as_those_need_it_that_charged_it(limit: TokenBucket) -> None:
    state = bucket(30).try_charge(None, START, 15)
    assert limit.lifetime(state, START) == 30 * SECOND
    state = bucket(10, burst=100).try_charge(state, START + 10 * SECOND, 5)
    assert limit.lifetime(state, START + 10 * SECOND) == 110 * SECOND
