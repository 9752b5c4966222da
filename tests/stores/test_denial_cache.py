"""The denial cache: exact, expired in time, and used only where the store runs on the real clock."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from ratelimit_kit import Charge, FixedWindow, Limiter, MemoryStore, Scope, SlidingWindow, TokenBucket
from ratelimit_kit.errors import CostError, OptionError, StoreUnavailableError
from ratelimit_kit.guarded_store import GuardedStore
from ratelimit_kit.stores import denial_cache
from ratelimit_kit.testing import ManualClock

pytestmark = pytest.mark.about("denials")

LIMITS = [SlidingWindow(5, per=8), TokenBucket(5, per=8), FixedWindow(5, per="minute")]


class Shared(MemoryStore):
    """A store that GuardedStore takes for a networked one; counts its calls."""

    scope = Scope.SHARED
    denials_cacheable = True

    def __init__(self, clock: Any) -> None:
        super().__init__(clock=clock)
        self.asked = 0
        self.error: Exception | None = None

    def decide(self, charges: Sequence[Charge]) -> Any:
        self.asked += 1
        if self.error is not None:
            raise self.error
        return super().decide(charges)

    def refund(self, charges: Sequence[Charge], stamp: int | None = None) -> None:
        super().refund(charges, stamp)
        denial_cache.forget(charges, refunded=True)

    def reset(self, charges: Sequence[Charge]) -> None:
        super().reset(charges)
        denial_cache.forget(charges)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[ManualClock]:
    """One clock for the store and for this process."""
    clock = ManualClock(start=1_800_000_000)
    monkeypatch.setattr(denial_cache, "monotonic", lambda: clock.now)
    monkeypatch.setattr("ratelimit_kit.guarded_store.time.monotonic", lambda: clock.now)
    return clock


@pytest.fixture
def store(clock: ManualClock) -> Shared:
    return Shared(clock)


@pytest.mark.parametrize("limit", LIMITS, ids=str)
def test_a_denial_is_answered_from_memory_until_its_instant_and_not_longer(
    limit: Any, store: Shared, clock: ManualClock
) -> None:
    limiter = Limiter(limit, store=store)
    limiter.hit("key", 5)
    first = limiter.hit("key")
    assert (first.allowed, first.cached) == (False, False)
    wait = first.retry_after
    longest = min(wait, denial_cache.MAX_SECONDS)
    asked = store.asked
    for part in (0, 0.25, 0.5, 0.99):
        clock.advance(longest * part - (clock.now - 1_800_000_000))
        again = limiter.hit("key")
        assert (again.allowed, again.cached, again.degraded) == (False, True, False)
        assert again.retry_after == pytest.approx(wait - (clock.now - 1_800_000_000), abs=2e-6)
        assert again.limit == limit
        assert again.remaining == 0
    assert store.asked == asked
    clock.advance(longest - (clock.now - 1_800_000_000))
    decision = limiter.hit("key")
    assert store.asked == asked + 1
    assert decision.allowed is (wait <= denial_cache.MAX_SECONDS)


def test_only_the_same_cost_and_key_and_limit_are_known(store: Shared) -> None:
    limiter = Limiter(SlidingWindow(5, per=8), store=store)
    limiter.hit("key", 3)
    assert not limiter.hit("key", 4)
    asked = store.asked
    assert limiter.hit("key", 4).cached
    assert limiter.hit("key", 2).allowed
    assert not limiter.hit("key", 5).cached
    assert not limiter.hit("other", 4).cached
    assert not limiter.peek("key").cached
    assert not Limiter(SlidingWindow(6, per=8), store=store).hit("key", 6).cached
    assert store.asked == asked + 5
    with pytest.raises(CostError):
        limiter.hit("key", 6)


def test_a_reset_and_a_refund_are_heard_of_in_the_whole_process(store: Shared, clock: ManualClock) -> None:
    limit = SlidingWindow(2, per=8)
    one, other = Limiter(limit, store=store), Limiter(limit, store=store)
    for undo in (lambda: one.reset("key"), lambda: one.refund("key", 2)):
        clock.advance(60)
        other.hit("key", 2)
        assert not other.hit("key")
        assert other.hit("key").cached
        clock.advance(0.001)
        undo()
        assert other.hit("key").allowed


def test_where_units_are_given_back_denials_are_not_kept(store: Shared, clock: ManualClock) -> None:
    limiter = Limiter(SlidingWindow(2, per=8), store=store)
    limiter.hit("someone")
    limiter.refund("someone")
    clock.advance(1)
    limiter.hit("key", 2)
    assert [limiter.hit("key").cached for _ in range(3)] == [False] * 3
    clock.advance(denial_cache.REFUND_SECONDS)
    limiter.hit("key", 2)
    assert [limiter.hit("key").cached for _ in range(3)] == [False, True, True]


def test_a_denial_that_was_asked_for_before_a_reset_is_not_kept(store: Shared, clock: ManualClock) -> None:
    denials = denial_cache.DenialCache()
    charges = [Charge("key", SlidingWindow(2, per=8))]
    guarded = GuardedStore(store, deny_cache=False)
    guarded.decide([charges[0]._replace(cost=2)], "raise")
    denied = guarded.decide(charges, "raise")
    begun = clock.now
    clock.advance(0.001)
    denial_cache.forget(charges)
    denials.keep(charges, denied, begun)
    assert denials.find(charges) is None
    denials.keep(charges, denied, clock.now + 0.001)
    assert denials.find(charges) is not None


def test_several_charges_are_refused_by_the_one_that_is_known(store: Shared, clock: ManualClock) -> None:
    minute, login = SlidingWindow(100, per=60), SlidingWindow(1, per=8)
    guarded = GuardedStore(store)
    both = [Charge("ip", minute), Charge("user", login)]
    assert guarded.decide(both, "raise")
    first = guarded.decide(both, "raise")
    clock.advance(1)
    again = guarded.decide(list(both), "raise")
    assert again.cached
    assert [verdict.allowed for verdict in again.verdicts] == [True, False]
    assert [verdict.remaining for verdict in again.verdicts] == [99, 0]  # as in the cached denial
    assert again.verdicts[1].wait == first.verdicts[1].wait - 1_000_000
    elsewhere = guarded.decide([Charge("another", minute), both[1]], "raise")
    assert elsewhere.cached
    assert [(verdict.allowed, verdict.remaining) for verdict in elsewhere.verdicts] == [(True, 0), (False, 0)]
    assert elsewhere.limit == login
    assert guarded.decide([both[0]], "raise").allowed


def test_memory_is_bounded(store: Shared, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(denial_cache, "MAX_DENIALS", 50)
    limiter = Limiter(SlidingWindow(1, per=8), store=store)
    for number in range(500):
        limiter.hit(f"key {number}")
        limiter.hit(f"key {number}")
    assert len(limiter._store._denials) == 50  # type: ignore[arg-type]
    assert limiter.hit("key 499").cached
    assert not limiter.hit("key 1").cached


def test_an_outage_is_no_denial(store: Shared) -> None:
    limiter = Limiter(SlidingWindow(1, per=8), store=store, on_outage="deny")
    store.error = StoreUnavailableError("away")
    assert not limiter.hit("key").cached
    assert not limiter.hit("key").cached
    assert len(limiter._store._denials) == 0  # type: ignore[arg-type]


def test_it_can_be_turned_off_and_is_off_for_stores_with_other_clocks(store: Shared) -> None:
    limiter = Limiter(SlidingWindow(1, per=8), store=store, deny_cache=False)
    assert [limiter.hit("key").cached for _ in range(5)] == [False] * 5
    assert store.asked == 5
    with pytest.raises(OptionError, match="deny_cache"):
        Limiter("1/minute", deny_cache="no")  # type: ignore[arg-type]
    assert Limiter("1/minute")._store._denials is None


def test_threads_admit_exactly_the_limit_and_reset_never_loses(store: Shared) -> None:
    limiter = Limiter(SlidingWindow(5, per=600), store=store)
    admitted = []

    def hits() -> None:
        for _ in range(300):
            admitted.append(limiter.hit("key").allowed)

    for _ in range(3):
        threads = [threading.Thread(target=hits) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sum(admitted) == 5
        admitted.clear()
        limiter.reset("key")


@pytest.mark.parametrize("count", ["failures", "successes", [500]])
@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
async def test_where_hits_are_given_back_as_a_rule_no_denial_is_kept(
    store: Shared, count: Any, asynchronous: bool
) -> None:
    """Another process may give back what has caused the denial, and nobody here hears of it."""
    from ratelimit_kit import Policy, Rule
    from tests.web.identity.test_address import request

    policy = Policy(Rule("3/minute", key="ip", count=count, name="login"), store=store, workers=1)

    async def status() -> int:
        return (await policy.acheck(request()) if asynchronous else policy.check(request())).status

    assert [await status() for _ in range(5)] == [0, 0, 0, 429, 429]
    for one in range(3):
        MemoryStore.refund(store, [Charge("web:login:ip:192.0.2.7", SlidingWindow(3, per=60), 1)])
        assert (one, await status(), await status()) == (one, 0, 429)


def test_a_denial_by_another_rule_of_the_request_is_kept(store: Shared) -> None:
    from ratelimit_kit import Policy, Rule
    from tests.web.identity.test_address import request

    policy = Policy(
        Rule("9/minute", count="failures", name="login"), Rule("1/minute", name="site"), store=store, workers=1
    )
    assert [policy.check(request()).status for _ in range(2)] == [0, 429]
    asked = store.asked
    assert [policy.check(request()).status for _ in range(5)] == [429] * 5
    assert store.asked == asked
