"""What an outage costs, which calls reach the store during it, and how soon its end is noticed."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from ratelimit_kit import Limiter
from ratelimit_kit.errors import StoreUnavailableError
from ratelimit_kit.outage import breaker as module
from ratelimit_kit.outage.breaker import CircuitBreaker
from tests.outage.flaky import ALIVE, BUSY, DOWN, Flaky, Forward


def test_an_outage_asks_the_store_once_and_then_now_and_then(store: Flaky, wait: Forward) -> None:
    limiter = Limiter("5/minute", store=store, on_outage="allow")
    store.error = DOWN
    assert all(limiter.hit("key").degraded for _ in range(100))
    assert store.asked == 1
    asked = []
    for _ in range(6):
        wait(0.06)
        limiter.hit("key")
        asked.append(store.asked)
    assert asked == [2, 2, 3, 3, 3, 3]  # after 0.05 s, then 0.1, then 0.2


def test_a_recovery_is_noticed_within_the_longest_pause(
    store: Flaky, wait: Forward, caplog: pytest.LogCaptureFixture
) -> None:
    limiter = Limiter("5/minute", store=store, on_outage="allow")
    store.error = DOWN
    for _ in range(100):
        limiter.hit("key")
        wait(1)
    store.error = None
    wait(module.MAX_PAUSE_SECONDS)
    decision = limiter.hit("key")
    assert not decision.degraded
    assert decision.remaining == 4
    assert [record.ratelimit["event"] for record in caplog.records] == ["store-outage", "store-recovered"]  # type: ignore[attr-defined]
    assert "answers again, after 100.5 s" in caplog.text
    store.error = DOWN
    limiter.hit("key")
    assert limiter.hit("key").degraded


def test_during_an_outage_one_caller_at_a_time_tries(store: Flaky, wait: Forward) -> None:
    limiter = Limiter("5/minute", store=store, on_outage="allow")
    store.error = DOWN
    limiter.hit("key")
    wait(1)
    barrier = threading.Barrier(20)

    def hit() -> None:
        barrier.wait()
        limiter.hit("key")

    threads = [threading.Thread(target=hit) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.asked == 2


def test_the_pause_doubles_with_each_try_and_not_with_each_caller_that_fails(wait: Forward) -> None:
    breaker = CircuitBreaker()
    assert [breaker.failed(DOWN, 100.0) for _ in range(40)] == [True] + [False] * 39
    wait(module.FIRST_PAUSE_SECONDS)
    assert [breaker.lets_through() for _ in range(3)] == [True, False, False]
    for _ in range(40):  # they began before the try, and say nothing about it
        assert not breaker.failed(DOWN, 100.01)
    wait(module.FIRST_PAUSE_SECONDS)
    assert not breaker.lets_through()
    assert not breaker.failed(DOWN, 100.05)  # the try itself
    wait(2 * module.FIRST_PAUSE_SECONDS)
    assert breaker.lets_through()


def test_a_failure_from_before_the_recovery_begins_no_outage(wait: Forward) -> None:
    breaker = CircuitBreaker()
    breaker.failed(DOWN, 100.0)
    wait(1)
    assert breaker.lets_through()
    assert breaker.succeeded() == 1.0
    assert not breaker.failed(DOWN, 100.9)
    assert breaker.error is None
    assert breaker.failed(DOWN, 101.0)


@pytest.mark.parametrize("takes", [0.0, 0.25, 0.9, 30.0])
def test_a_call_more_than_a_second_after_the_recovery_is_let_through(wait: Forward, takes: float) -> None:
    """However long the try before took: it may have been sent a moment before the store answered."""
    breaker = CircuitBreaker()
    breaker.failed(DOWN, 100.0)
    began = 100.0
    for _ in range(8):  # by now the pause is at its longest
        wait(2)
        began += 2
        assert breaker.lets_through()
        breaker.failed(DOWN, began)
    wait(2)
    began += 2
    assert breaker.lets_through()
    if takes < 1:
        wait(takes)
        breaker.failed(DOWN, began)
    wait(1.001 - takes if takes < 1 else 1.001)
    assert breaker.lets_through()


def test_raise_raises_at_once_too(store: Flaky, wait: Forward) -> None:
    limiter = Limiter("5/minute", store=store)
    store.error = DOWN
    for _ in range(3):
        with pytest.raises(StoreUnavailableError, match=r"the store is away \[RLK301\]"):
            limiter.hit("key")
    assert store.asked == 1


@pytest.mark.parametrize("error", ALIVE, ids=lambda error: type(error).__name__)
async def test_only_an_unreachable_store_opens_the_breaker(store: Flaky, wait: Forward, error: Any) -> None:
    limiter = Limiter("5/minute", store=store, on_outage="allow")
    store.error = error
    assert [limiter.hit("key").allowed for _ in range(3)] == [False] * 3
    assert not (await limiter.ahit("key")).allowed
    assert store.asked == 4
    strict = Limiter("5/minute", store=store)
    for _ in range(2):
        with pytest.raises(type(error), match=str(error.rlk)):
            strict.hit("key")
    store.error = None
    assert not limiter.hit("key").degraded


@pytest.mark.parametrize("error", ALIVE, ids=lambda error: type(error).__name__)
def test_an_outage_that_turns_into_another_trouble_admits_nobody(store: Flaky, wait: Forward, error: Any) -> None:
    """A server that restarts is away first, and then loads its data: what it says then is not an outage any more."""
    limiter = Limiter("5/minute", store=store, on_outage="allow")
    store.error = DOWN
    assert limiter.hit("key").allowed
    store.error = error
    wait(1)
    asked = store.asked
    assert [limiter.hit("key").allowed for _ in range(3)] == [False] * 3
    assert (store.asked - asked) == (1 if error is BUSY else 3)  # who is too busy for one is so for the next
    store.error = None
    wait(1.001)
    assert not limiter.hit("key").degraded


def test_who_must_raise_during_an_outage_says_what_the_store_said_last(store: Flaky, wait: Forward) -> None:
    limiter = Limiter("5/minute", store=store)
    store.error = DOWN
    with pytest.raises(StoreUnavailableError):
        limiter.hit("key")
    store.error = BUSY
    wait(1)
    for _ in range(2):
        with pytest.raises(type(BUSY), match="RLK302"):
            limiter.hit("key")
