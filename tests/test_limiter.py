from __future__ import annotations

import asyncio
import math
import pickle
import time
from typing import Any

import pytest

from ratelimit_kit import (
    UNLIMITED,
    CostError,
    Limiter,
    LimitExceeded,
    MemoryStore,
    QuotaError,
    SlidingWindow,
    ratelimit,
)
from ratelimit_kit.core.events import Decided, Event
from ratelimit_kit.errors import OptionError, StoreUnavailableError, UnsafeWorkersError
from ratelimit_kit.testing import ManualClock


class BrokenStore(MemoryStore):
    """A store whose server is down."""

    def decide(self, charges: Any) -> Any:
        raise StoreUnavailableError("the server is gone")


class Listener:
    def __init__(self) -> None:
        self.events: list[Event] = []

    def on_event(self, event: Event) -> None:
        self.events.append(event)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def limiter(clock: ManualClock) -> Limiter:
    return Limiter("3/minute", "5/hour", store=MemoryStore(clock=clock))


def test_a_hit_is_admitted_until_the_first_limit_refuses(limiter: Limiter) -> None:
    decisions = [limiter.hit("user:42") for _ in range(4)]
    assert [bool(decision) for decision in decisions] == [True, True, True, False]
    assert [decision.remaining for decision in decisions] == [2, 1, 0, 0]
    assert decisions[3].limit == SlidingWindow(3, per=60)
    assert decisions[3].retry_after == 60.0
    assert [verdict.allowed for verdict in decisions[3].verdicts] == [False, True]
    assert not decisions[3].degraded


def test_the_longest_wait_binds(limiter: Limiter, clock: ManualClock) -> None:
    for _ in range(3):
        limiter.hit("key")
    clock.advance(60)
    assert limiter.hit("key", cost=2)
    decision = limiter.hit("key", cost=2)
    assert decision.limit == SlidingWindow(5, per=3600)
    assert decision.retry_after == 3540.0
    clock.advance(decision.retry_after - 0.000001)
    assert not limiter.hit("key", cost=2)
    clock.advance(0.000001)
    assert limiter.hit("key", cost=2)


def test_keys_and_names_have_counters_of_their_own(clock: ManualClock) -> None:
    store = MemoryStore(clock=clock)
    first, second = Limiter("1/minute", store=store, name="a"), Limiter("1/minute", store=store, name="b")
    assert first.hit("key")
    assert first.hit("other")
    assert second.hit("key")
    assert not Limiter("1/minute", store=store, name="a").hit("key")


def test_a_peek_says_what_a_hit_would_be_answered(limiter: Limiter) -> None:
    assert limiter.peek("key")
    assert limiter.peek("key").remaining == 3
    limiter.hit("key", cost=3)
    peek = limiter.peek("key")
    assert not peek
    assert peek.retry_after == limiter.hit("key").retry_after == 60.0


def test_a_cost_of_zero_charges_nothing_and_is_never_refused(limiter: Limiter) -> None:
    limiter.hit("key", cost=3)
    decision = limiter.hit("key", cost=0)
    assert decision.allowed
    assert decision.remaining == 0


def test_reset_forgets_and_refund_gives_back(limiter: Limiter) -> None:
    limiter.hit("key", cost=3)
    limiter.refund("key", 2)
    assert limiter.peek("key").remaining == 2
    limiter.refund("key", 3)
    assert limiter.peek("key").remaining == 3
    limiter.hit("key", cost=3)
    limiter.reset("key")
    assert limiter.peek("key").remaining == 3


async def test_the_async_api_counts_on_the_same_counters(limiter: Limiter) -> None:
    assert (await limiter.ahit("key")).remaining == 2
    assert (await limiter.apeek("key")).remaining == 2
    assert limiter.hit("key").remaining == 1
    await limiter.arefund("key")
    assert limiter.peek("key").remaining == 2
    await limiter.areset("key")
    assert limiter.peek("key").remaining == 3
    await limiter.aclose()


def test_acquire_waits_for_its_turn() -> None:
    limiter = Limiter(SlidingWindow(2, per=0.05))
    begun = time.monotonic()
    assert all(limiter.acquire("key", timeout=5) for _ in range(5))
    assert time.monotonic() - begun >= 0.1


def test_acquire_refuses_before_it_waits_when_the_deadline_cannot_be_met(limiter: Limiter) -> None:
    for _ in range(3):
        limiter.hit("key")
    begun = time.monotonic()
    decision = limiter.acquire("key", timeout=2.0)
    assert time.monotonic() - begun < 1
    assert not decision
    assert decision.retry_after == 60.0


async def test_aacquire_does_not_block_the_loop() -> None:
    limiter = Limiter(SlidingWindow(1, per=0.05))
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0.005)

    ticking = asyncio.create_task(tick())
    assert all([await limiter.aacquire("key", timeout=5) for _ in range(3)])
    ticking.cancel()
    assert ticks > 3


@pytest.mark.parametrize("timeout", [-1, "soon", True, float("nan")])
def test_a_timeout_is_a_number_of_seconds(limiter: Limiter, timeout: Any) -> None:
    with pytest.raises(OptionError, match="timeout must be"):
        limiter.acquire("key", timeout=timeout)


@pytest.mark.parametrize("cost", [4, -1, True, 1.5])
def test_a_cost_that_can_never_be_admitted_is_an_error(limiter: Limiter, cost: Any) -> None:
    with pytest.raises(CostError, match="RLK102"):
        limiter.hit("key", cost=cost)


@pytest.mark.parametrize("key", [42, None, b"key"])
def test_a_key_is_text(limiter: Limiter, key: Any) -> None:
    with pytest.raises(OptionError, match="key must be a string"):
        limiter.hit(key)


def test_a_limiter_needs_limits_and_each_once() -> None:
    with pytest.raises(QuotaError, match="no limit was given"):
        Limiter()
    with pytest.raises(QuotaError, match="given twice"):
        Limiter("5/minute", SlidingWindow(5, per=60))


def test_without_its_store_a_limiter_raises() -> None:
    with pytest.raises(StoreUnavailableError, match="RLK301"):
        Limiter("5/minute", store=BrokenStore()).hit("key")


@pytest.mark.parametrize(("word", "allowed"), [("allow", True), ("deny", False)])
async def test_an_outage_policy_answers_instead_and_says_so(word: Any, allowed: bool) -> None:
    listener = Listener()
    limiter = Limiter("5/minute", store=BrokenStore(), on_outage=word, observer=listener)
    for decision in (limiter.hit("key"), await limiter.ahit("key"), limiter.peek("key")):
        assert decision.degraded
        assert decision.allowed is allowed
        assert (decision.retry_after > 0) is not allowed
    assert {event.name for event in listener.events} == {"store-outage"}


def test_an_unknown_outage_policy_is_an_error() -> None:
    with pytest.raises(OptionError, match="did you mean 'allow'"):
        Limiter("5/minute", on_outage="alow")  # type: ignore[arg-type]


def test_an_outage_is_logged_once_a_second_not_once_a_hit(caplog: pytest.LogCaptureFixture) -> None:
    limiter = Limiter("5/minute", store=BrokenStore(), on_outage="allow")
    for _ in range(100):
        limiter.hit("key")
    assert len(caplog.records) == 1
    assert "admitted without a count" in caplog.text


@pytest.mark.parametrize(
    "make",
    [
        lambda: Limiter("5/minute", on_outige="allow"),
        lambda: MemoryStore(max_key=5),
        lambda: SlidingWindow(5, pre=60),
        lambda: SlidingWindow(5, per=60, resolutoin=5),
    ],
)
def test_an_unknown_option_names_the_nearest(make: Any) -> None:
    with pytest.raises(OptionError, match=r"has no option .* did you mean .*RLK103"):
        make()


def test_a_limiter_on_a_per_process_store_refuses_several_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RATELIMIT_KIT_WORKERS", "4")
    with pytest.raises(UnsafeWorkersError, match="RLK201"):
        Limiter("5/minute")
    with pytest.raises(UnsafeWorkersError, match="RLK201"):
        ratelimit("5/minute")(print)
    assert Limiter("5/minute", workers=1).hit("key")
    Limiter("5/minute", store="redis://127.0.0.1")


def test_errors_and_limits_survive_pickling() -> None:
    limiter = Limiter("1/minute", "fixed-window: 5/day")
    limiter.hit("key")
    error = LimitExceeded(limiter.hit("key"), "work")
    for one in (error, UnsafeWorkersError("found"), CostError("found")):
        again = pickle.loads(pickle.dumps(one))
        assert (str(again), again.rlk, again.code) == (str(one), one.rlk, one.code)
    assert pickle.loads(pickle.dumps(limiter.limits)) == limiter.limits


async def test_observers_hear_of_a_limiters_decisions_and_of_no_peek() -> None:
    heard: list[Decided] = []

    class Counting:
        def on_event(self, event: object) -> None:
            pass

        def on_decision(self, decided: Decided) -> None:
            heard.append(decided)

    limiter = Limiter("2/minute", name="mail", observer=Counting())
    limiter.peek("key")
    limiter.hit("key")
    await limiter.ahit("key")
    limiter.hit("key")
    assert [(one.policy, one.rule, one.outcome, one.store) for one in heard] == [
        ("mail", "limiter", "allowed", "MemoryStore"),
        ("mail", "limiter", "allowed", "MemoryStore"),
        ("mail", "limiter", "denied", "MemoryStore"),
    ]
    assert [one.near for one in heard] == [False, True, True]


def test_limiters_without_a_name_on_one_store_are_told_that_they_share_a_counter(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = MemoryStore()
    Limiter("5/minute", store=store, workers=1)
    for apart in (Limiter("5/minute", store=store, workers=1), Limiter("9/hour", store=store, workers=1),
                  Limiter("9/minute", store=store, workers=1, name="named"),
                  Limiter("9/minute", store=store, workers=1, inherit=False)):  # fmt: skip
        assert apart.hit("key")
    assert "count in one counter" not in caplog.text
    both = Limiter("9/minute", store=store, workers=1)
    assert "two limiters without a name count in one counter: 5/minute and 9/minute" in caplog.text
    assert both.hit("key").remaining == 7


def test_a_changed_number_goes_on_from_what_was_counted() -> None:
    store = MemoryStore()
    high, low = (Limiter(f"{number}/minute", store=store, workers=1, name="x") for number in (5, 2))
    assert [high.hit("key").remaining for _ in range(3)] == [4, 3, 2]
    assert (low.hit("key").allowed, low.peek("key").remaining) == (False, 0)
    assert high.hit("key").remaining == 1
    high.refund("key", cost=100)
    assert low.hit("key").remaining == 1


def test_without_a_limit_everything_is_admitted_and_nothing_is_kept() -> None:
    store = MemoryStore()
    limiter = Limiter(UNLIMITED, store=store, workers=1)
    decision = limiter.hit("key", 10**9)
    assert (decision.allowed, decision.retry_after, decision.limit) == (True, 0.0, UNLIMITED)
    assert limiter.peek("key").allowed
    limiter.refund("key")
    limiter.reset("key")
    assert len(store) == 0
    assert pickle.loads(pickle.dumps(UNLIMITED)) is UNLIMITED


async def test_a_limit_of_zero_is_not_waited_for() -> None:
    for text in ("0/minute", "token-bucket: 0/hour", "fixed-window: 0/year"):
        limiter = Limiter(text, store="memory://", workers=1)
        decision = limiter.acquire("key", 5)
        assert (decision.allowed, decision.remaining, decision.retry_after) == (False, 0, math.inf)
        assert not (await limiter.aacquire("key", timeout=60)).allowed
        assert not limiter.peek("key").allowed
        with pytest.raises(LimitExceeded, match="no wait helps"):
            ratelimit(text, workers=1)(lambda: 1)()


async def test_a_refund_of_a_decision_is_of_that_hit_and_never_of_a_later_one() -> None:
    clock = ManualClock(start=1_800_000_000)
    limiter = Limiter("3/minute", store=MemoryStore(clock=clock), workers=1)
    first = limiter.hit("key")
    clock.advance(1)
    limiter.reset("key")
    assert [limiter.hit("key").remaining for _ in range(2)] == [2, 1]
    limiter.refund("key", decision=first)
    await limiter.arefund("key", decision=first)
    assert limiter.peek("key").remaining == 1
    last = limiter.hit("key")
    denied = limiter.hit("key")
    limiter.refund("key", decision=denied)
    assert limiter.peek("key").remaining == 0
    await limiter.arefund("key", decision=last)
    assert limiter.peek("key").remaining == 1


@pytest.mark.about("memory")
async def test_a_limiter_without_options_takes_the_fast_path_while_its_guard_is_calm(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    limiter = Limiter("100/minute")
    assert limiter.hit("key")
    assert limiter.hit("key")  # from now on its table knows when it has to be swept
    asked: list[str] = []
    decide, adecide = limiter._store.decide, limiter._store.adecide
    monkeypatch.setattr(limiter._store, "decide", lambda *given: asked.append("hit") or decide(*given))
    monkeypatch.setattr(limiter._store, "adecide", lambda *given: asked.append("ahit") or adecide(*given))
    assert not limiter._guard.alert
    for alert, expected in ((False, []), (True, ["hit", "ahit"])):
        limiter._guard.alert = alert
        limiter.hit("key")
        limiter._guard.alert = alert
        await limiter.ahit("key")
        assert asked == expected
    assert limiter.peek("key").remaining == 94
