"""What an outage costs, which calls reach the store during it, and what each outage policy decides."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from ratelimit_kit import Charge, FixedWindow, Limiter, MemoryStore, Policy, Rule, Scope, SlidingWindow, TokenBucket
from ratelimit_kit import circuit_breaker as module
from ratelimit_kit.errors import StoreContendedError, StoreUnavailableError
from ratelimit_kit.outage import share
from ratelimit_kit.wsgi import RateLimitMiddleware
from tests.test_wsgi import call, hello


class Flaky(MemoryStore):
    """A store that can be made unavailable; counts its calls."""

    scope = Scope.SHARED

    def __init__(self) -> None:
        super().__init__()
        self.error: Exception | None = None
        self.asked = 0

    def decide(self, charges: Sequence[Charge]) -> Any:
        self.asked += 1
        if self.error is not None:
            raise self.error
        return super().decide(charges)


@pytest.fixture
def store() -> Flaky:
    return Flaky()


@pytest.fixture
def wait(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    now = [100.0]

    class Time:
        @staticmethod
        def monotonic() -> float:
            return now[0]

    monkeypatch.setattr(module, "time", Time)

    def forward(seconds: float) -> None:
        now[0] += seconds

    return forward


DOWN = StoreUnavailableError("the store is away")


def test_an_outage_asks_the_store_once_and_then_now_and_then(store: Flaky, wait: Callable[[float], None]) -> None:
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
    store: Flaky, wait: Callable[[float], None], caplog: pytest.LogCaptureFixture
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
    assert "answers again, after 102.0 s" in caplog.text
    store.error = DOWN
    limiter.hit("key")
    assert limiter.hit("key").degraded


def test_during_an_outage_one_caller_at_a_time_tries(store: Flaky, wait: Callable[[float], None]) -> None:
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


def test_raise_raises_at_once_too(store: Flaky, wait: Callable[[float], None]) -> None:
    limiter = Limiter("5/minute", store=store)
    store.error = DOWN
    for _ in range(3):
        with pytest.raises(StoreUnavailableError, match=r"the store is away \[RLK301\]"):
            limiter.hit("key")
    assert store.asked == 1


def test_a_contended_store_is_asked_again_and_never_fails_open(store: Flaky, wait: Callable[[float], None]) -> None:
    limiter = Limiter("5/minute", store=store, on_outage="allow")
    store.error = StoreContendedError("busy")
    assert [limiter.hit("key").allowed for _ in range(3)] == [False] * 3
    assert store.asked == 3


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


async def test_local_keeps_to_the_share_of_each_worker(store: Flaky) -> None:
    limiter = Limiter("100/minute", store=store, on_outage="local", workers=4)
    store.error = DOWN
    decisions = [limiter.hit("key") for _ in range(30)]
    assert [decision.allowed for decision in decisions] == [True] * 25 + [False] * 5
    assert all(decision.degraded for decision in decisions)
    assert str(decisions[-1].limit) == "100/minute"
    assert 0 < decisions[-1].retry_after <= 60
    assert limiter.hit("other", cost=60).allowed
    assert not limiter.hit("other").allowed
    assert not (await limiter.ahit("key")).allowed


def test_a_local_denial_is_429_and_an_outage_that_denies_503(store: Flaky) -> None:
    store.error = DOWN
    local = RateLimitMiddleware(
        hello, Policy(Rule("1/minute"), store=store, on_outage="local", start_without_store=True)
    )
    assert [call(local)[0][:3] for _ in range(2)] == ["200", "429"]
    assert local.policy.health().status == "warn"  # the store replies to a ping, but decisions were made without it
    deny = RateLimitMiddleware(hello, Policy(Rule("1/minute"), store=store, on_outage="deny", start_without_store=True))
    assert call(deny)[0][:3] == "503"


@pytest.mark.parametrize(
    ("rules", "status"),
    [(["allow", "local"], "429"), (["local", "deny"], "503"), (["allow", "allow"], "200")],
)
def test_the_strictest_policy_of_the_rules_answers(store: Flaky, rules: list[Any], status: str) -> None:
    policy = Policy(
        *(Rule(f"{n}/minute", on_outage=word) for n, word in enumerate(rules, start=1)),
        store=store,
        start_without_store=True,
    )
    application = RateLimitMiddleware(hello, policy)
    store.error = DOWN
    call(application)
    assert call(application)[0][:3] == status
