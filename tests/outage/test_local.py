"""Local counters: what they admit, that a recovery does not renew them, and that refunds reach them."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from ratelimit_kit import Charge, CostError, FixedWindow, Limiter, MemoryStore, SlidingWindow, TokenBucket
from ratelimit_kit.census import Census
from ratelimit_kit.core.events import unheard
from ratelimit_kit.outage import LOCAL, Meanwhile, is_local
from ratelimit_kit.outage.local import LocalCounters, share
from ratelimit_kit.stores.memory.store import keep_time_by
from ratelimit_kit.testing import ManualClock
from tests.outage.flaky import ALIVE, BUSY, DOWN, FULL, Flaky, Forward

NO_CENSUS = Census(MemoryStore(), "", unheard)

LIMITS = [
    SlidingWindow(5, 60),
    TokenBucket(5, 60),
    FixedWindow(5, per="minute"),
]


def admitted(limiter: Limiter, number: int = 20, key: str = "key") -> int:
    return sum(limiter.hit(key).allowed for _ in range(number))


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        (SlidingWindow(100, 60), SlidingWindow(25, 60)),
        (SlidingWindow(2, 60), SlidingWindow(1, 60)),
        (TokenBucket(10, per=1, burst=50), TokenBucket(2, per=1, burst=12)),
        (FixedWindow(9, per="day", tz="Asia/Kathmandu"), FixedWindow(2, per="day", tz="Asia/Kathmandu")),
    ],
)
def test_a_share_is_the_limit_divided_by_the_workers(limit: Any, expected: Any) -> None:
    assert share(limit, 4) == expected
    assert share(limit, 1) == limit


@pytest.mark.parametrize("limit", LIMITS, ids=str)
async def test_local_applies_the_whole_limit_whatever_the_number_of_workers(store: Flaky, limit: Any) -> None:
    limiter = Limiter(limit, store=store, on_outage="local", workers=4)
    store.error = DOWN
    decisions = [limiter.hit("key") for _ in range(4)] + [await limiter.ahit("key") for _ in range(4)]
    assert [decision.allowed for decision in decisions] == [True] * 5 + [False] * 3
    assert all(decision.degraded and is_local(decision) for decision in decisions)
    assert decisions[-1].limit == limit
    assert 0 < decisions[-1].retry_after <= 60
    assert limiter.hit("other").remaining == 4


async def test_local_share_keeps_to_the_share_of_each_worker(store: Flaky) -> None:
    limiter = Limiter("100/minute", store=store, on_outage="local-share", workers=4)
    store.error = DOWN
    decisions = [limiter.hit("key") for _ in range(30)]
    assert [decision.allowed for decision in decisions] == [True] * 25 + [False] * 5
    assert all(decision.degraded for decision in decisions)
    assert str(decisions[-1].limit) == "100/minute"
    assert 0 < decisions[-1].retry_after <= 60
    assert limiter.hit("other", cost=60).allowed
    assert not limiter.hit("other").allowed
    assert not (await limiter.ahit("key")).allowed


@pytest.mark.parametrize(("word", "expected"), [("local", 8), ("local-share", 2)])
async def test_a_fallback_replaces_the_limits(store: Flaky, word: Any, expected: int) -> None:
    limiter = Limiter(
        "100/minute", "1000/hour", store=store, on_outage=word, fallback=["8/minute", "400/day"], workers=4
    )
    store.error = DOWN
    assert admitted(limiter) == expected
    assert not (await limiter.ahit("key")).allowed
    assert str(limiter.hit("key").limit).endswith("/minute")
    assert len(limiter.hit("key")) == 2
    assert limiter.hit("large", cost=50).allowed
    assert not limiter.hit("large").allowed


def test_each_charge_may_have_a_fallback_of_its_own() -> None:
    local = LocalCounters(1, NO_CENSUS)
    charges = [Charge("one", SlidingWindow(9, 60)), Charge("other", SlidingWindow(3, 60))]
    both = Meanwhile("local", by_charge=((SlidingWindow(5, 10),), ()))
    assert sum(local.decide(charges, both).allowed for _ in range(20)) == 3
    assert sum(local.decide(charges[:1], Meanwhile("local", (SlidingWindow(5, 10),))).allowed for _ in range(20)) == 2


@pytest.mark.parametrize("word", ["local", "local-share", "allow"])
@pytest.mark.parametrize("limit", LIMITS, ids=str)
async def test_a_store_that_comes_and_goes_renews_no_quota(store: Flaky, wait: Forward, limit: Any, word: Any) -> None:
    limiter = Limiter(limit, store=store, on_outage=word, workers=1)
    passed = 0
    for _ in range(5):
        store.error = DOWN
        for _ in range(10):
            passed += limiter.hit("key").allowed
            passed += (await limiter.ahit("key")).allowed
        store.error = None
        wait(1.1)
        assert not limiter.hit("somebody else").degraded
    assert passed == (100 if word == "allow" else 5)


def test_local_counters_expire_in_time(store: Flaky) -> None:
    clock = ManualClock()
    keep_time_by(clock)
    try:
        limiter = Limiter("5/minute", store=store, on_outage="local")
        store.error = DOWN
        assert admitted(limiter) == 5
        clock.advance(60)
        assert admitted(limiter) == 5
    finally:
        keep_time_by(None)


@pytest.mark.parametrize("workers", [1, 3])
def test_a_window_that_touches_the_outage_holds_what_is_promised(wait: Forward, workers: int) -> None:
    """(workers + 1) times the limit, and one more if the store lost its data."""
    stores = [Flaky() for _ in range(workers)]
    counters = stores[0]._tables
    processes = []
    for one in stores:
        one._tables = counters
        processes.append(Limiter("5/minute", store=one, on_outage="local"))
    passed = sum(admitted(one) for one in processes)
    assert passed == 5
    for one in stores:
        one.error = DOWN
    passed += sum(admitted(one) for one in processes)
    assert passed == 5 * (workers + 1)
    for one in stores:
        one.error = None
    wait(1.1)
    passed += sum(admitted(one) for one in processes)
    assert passed == 5 * (workers + 1)
    stores[0].clear()
    passed += sum(admitted(one) for one in processes)
    assert passed == 5 * (workers + 2)


@pytest.mark.parametrize("fallback", [None, ["3/minute", "100/hour"]])
@pytest.mark.parametrize("word", ["local", "local-share"])
@pytest.mark.parametrize("limit", LIMITS, ids=str)
async def test_a_refund_goes_to_the_local_counters(store: Flaky, limit: Any, word: Any, fallback: Any) -> None:
    limiter = Limiter(limit, store=store, on_outage=word, fallback=fallback, workers=1)
    store.error = DOWN
    for _ in range(20):
        decision = limiter.hit("key", cost=2)
        assert decision.allowed
        limiter.refund("key", cost=2, decision=decision)
        again = await limiter.ahit("key")
        await limiter.arefund("key", decision=pickle.loads(pickle.dumps(again)))
    whole = limiter.peek("key").remaining
    assert whole == (3 if fallback else 5)
    refused = [limiter.hit("key") for _ in range(9)][-1]
    assert not refused.allowed
    limiter.refund("key", decision=refused)
    assert not limiter.hit("key").allowed


def test_a_refund_of_more_than_a_share_gives_back_that_share(store: Flaky) -> None:
    limiter = Limiter("100/minute", store=store, on_outage="local-share", workers=4)
    store.error = DOWN
    decision = limiter.hit("key", cost=60)
    limiter.refund("key", cost=60, decision=decision)
    assert admitted(limiter, 100) == 25


async def test_peek_shows_what_is_left_here_and_charges_nothing(store: Flaky) -> None:
    limiter = Limiter("3/minute", store=store, on_outage="local")
    store.error = DOWN
    for left in (3, 2, 1):
        for peeked in (limiter.peek("key"), await limiter.apeek("key")):
            assert (peeked.allowed, peeked.remaining, peeked.degraded) == (True, left, True)
        limiter.hit("key")
    for peeked in (limiter.peek("key"), await limiter.apeek("key")):
        assert (peeked.allowed, peeked.degraded) == (False, True)
        assert 0 < peeked.retry_after <= 60


async def test_a_reset_forgets_the_local_counters_too(store: Flaky, wait: Forward) -> None:
    limiter = Limiter("3/minute", store=store, on_outage="local", fallback=["2/minute"])
    for reset in (lambda: limiter.reset("key"), lambda: limiter.areset("key")):
        store.error = DOWN
        assert admitted(limiter) == 2
        store.error = None
        found = reset()
        if found is not None:
            await found


@pytest.mark.parametrize("word", ["local", "local-share"])
def test_a_cost_that_can_never_be_admitted_is_an_error_here_too(store: Flaky, word: Any) -> None:
    limiter = Limiter("5/minute", store=store, on_outage=word, fallback=["9/minute"])
    store.error = DOWN
    for cost in (6, -1):
        with pytest.raises(CostError):
            limiter.hit("key", cost)


def test_a_limit_of_0_refuses_here_too(store: Flaky) -> None:
    store.error = DOWN
    for options in ({}, {"fallback": ["0/minute"]}):
        limiter = Limiter("5/minute" if options else "0/minute", store=store, on_outage="local", **options)
        assert not limiter.hit("key").allowed


async def test_a_refund_reaches_what_was_counted_beside_the_store(store: Flaky) -> None:
    limiter = Limiter("5/minute", store=store, on_outage="local")
    store.error = FULL
    limiter.hit("somebody else")
    store.error = None
    for _ in range(10):
        decision = limiter.hit("key")
        assert (decision.allowed, decision.degraded, decision.remaining) == (True, False, 4)
        limiter.refund("key", decision=decision)
        decision = await limiter.ahit("key")
        await limiter.arefund("key", decision=decision)
    assert admitted(limiter) == 5


@pytest.mark.parametrize("error", ALIVE, ids=str)
async def test_what_the_local_counters_deny_is_given_back_to_the_store(store: Flaky, error: Any) -> None:
    limiter = Limiter("10/minute", store=store, on_outage="local")
    store.error = error
    assert admitted(limiter, 6) == 6
    store.error = None
    found = [limiter.hit("key").allowed for _ in range(10)] + [(await limiter.ahit("key")).allowed for _ in range(10)]
    assert sum(found) == 4
    (left,) = store.decide([Charge("default:key", limiter.limits[0], 0)])
    assert left.remaining == 10 - 4


@pytest.mark.parametrize("error", [DOWN, FULL])
def test_threads_that_hit_together_are_admitted_as_often_as_the_limit_says(store: Flaky, error: Any) -> None:
    limiter = Limiter("50/minute", store=store, on_outage="local")
    store.error = error
    with ThreadPoolExecutor(16) as pool:
        decisions = list(pool.map(lambda _: limiter.hit("key"), range(800)))
    assert sum(decision.allowed for decision in decisions) == 50


def test_the_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ratelimit_kit.outage.local.MAX_KEYS", 50)
    local = LocalCounters(1, NO_CENSUS)
    passed = [
        number for number in range(500) if local.decide([Charge(f"{number}", SlidingWindow(2, 60))], LOCAL).allowed
    ]
    assert len(passed) == 52  # further keys share one counter
    assert not local.has_room


@pytest.mark.parametrize("error", ALIVE, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("first", [0, 1, 3, 5])
async def test_a_store_that_refuses_some_calls_does_not_give_the_limit_twice(
    store: Flaky, wait: Forward, error: Any, first: int
) -> None:
    """As a full one does, which has room for a moment and then not."""
    limiter = Limiter("5/minute", store=store, on_outage="local")
    store.error = error
    limiter.hit("somebody else")
    passed = 0
    for number in range(40):
        store.error = error if (number + first) % 7 < first else None
        passed += limiter.hit("key").allowed
        passed += (await limiter.ahit("key")).allowed
    assert passed == 5
    store.error = None
    wait(10)
    assert limiter.hit("a third").remaining == 4
    assert limiter.hit("a third").remaining == 3


def test_what_is_given_back_as_a_rule_is_not_counted_twice(store: Flaky) -> None:
    limiter = Limiter("5/minute", store=store, on_outage="local")
    store.error = FULL
    limiter.hit("key")
    store.error = None
    charge = [Charge("other", SlidingWindow(1, 60))]
    for _ in range(5):
        decision = limiter._store.decide(charge, LOCAL, frozenset({0}))
        assert decision.allowed
        assert not decision.degraded
        limiter._store.refund(charge, decision)


def test_contention_is_logged_once_in_ten_seconds(
    store: Flaky, wait: Forward, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [500.0]
    monkeypatch.setattr("ratelimit_kit.observe.log.time.monotonic", lambda: now[0])
    limiter = Limiter("5/minute", store=store, on_outage="allow")
    for error, name in ((BUSY, "store-contended"), (FULL, "store-full")):
        caplog.clear()
        store.error = error
        for _ in range(22):
            limiter.hit("key")
            now[0] += 0.5
        assert [record.ratelimit["event"] for record in caplog.records] == [name] * 2  # type: ignore[attr-defined]
        assert "requests are refused, because the store answers" in caplog.text
