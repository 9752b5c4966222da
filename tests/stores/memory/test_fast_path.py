"""The fast paths of the memory store decide exactly like `decide`, and leave the rest to it."""

from __future__ import annotations

import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratelimit_kit import Charge, CostError, FixedWindow, Limiter, MemoryStore, SlidingWindow, TokenBucket
from ratelimit_kit.core.limit import Limit
from ratelimit_kit.errors import OptionError
from ratelimit_kit.testing import ManualClock
from ratelimit_kit.testing.model import Model

LIMITS = [
    SlidingWindow(5, per=1),
    SlidingWindow(40, per=1, resolution=4),
    SlidingWindow(3, per=0.00002),
    TokenBucket(7, per=1, burst=9),
    TokenBucket(1000, per=3, burst=30),
    FixedWindow(5, per="minute"),
    FixedWindow(9, per="month", tz="Asia/Kathmandu"),
]

steps = st.sampled_from([0, 1, 5, 31_250, 31_251, 250_000, 999_999, 1_000_000])
words = st.sampled_from(["hit", "hit", "hit", "hit", "hit", "cost", "refund", "reset", "peek"])
programs = st.lists(st.tuples(steps, words, st.sampled_from(["a", "b"])), min_size=1, max_size=150)


@pytest.mark.parametrize("limit", LIMITS, ids=str)
@given(program=programs)
def test_hits_by_the_fast_path_and_all_else_by_the_store_are_one_count(limit: Limit, program: list[Any]) -> None:
    clock = ManualClock(start=1_800_000_000)
    store, model = MemoryStore(clock=clock), Model(clock)
    limiter = Limiter(limit, store=store, name="x", workers=1)
    other = Limiter(limit, "1000000/day", store=store, name="x", workers=1)
    for step, word, key in program:
        clock.advance(step if isinstance(limit, FixedWindow) else step / 1_000_000)
        charge = Charge(f"x:{key}", limit, 1)
        if word == "hit":
            assert list(limiter.hit(key).verdicts) == model.decide([charge])
        elif word == "cost":
            assert other.hit(key, 2).verdicts[0] == model.decide([charge._replace(cost=2)])[0]
        elif word == "peek":
            assert limiter.peek(key).remaining == model.decide([charge._replace(cost=0)])[0].remaining
        elif word == "refund":
            limiter.refund(key)
            model.refund([charge])
        else:
            limiter.reset(key)
            model.reset([charge])


@pytest.mark.about("memory")
@pytest.mark.parametrize("limit", LIMITS, ids=str)
def test_the_fast_path_is_taken_when_the_key_is_known_and_only_then(limit: Limit) -> None:
    store = MemoryStore(clock=ManualClock(start=1_800_000_000))
    fast_path = store.fast_path("x", limit)
    assert fast_path("key", 1) is None
    for _ in range(20):  # until old counters are no longer checked
        store.decide([Charge("x:other", limit, 0)])
    store.decide([Charge("x:key", limit, 1)])
    answers = [fast_path("key", 1) for _ in range(limit.max_cost)]
    assert [bool(one) for one in answers] == [True] * (limit.max_cost - 1) + [False]
    assert None not in answers
    for cost in (True, 2, 0, 1.0, "1"):
        assert fast_path("key", cost) is None
    for key in (42, b"key", None, [], "x:key"):
        assert fast_path(key, 1) is None


def test_what_is_no_key_or_no_cost_is_an_error_all_the_same() -> None:
    limiter = Limiter("5/minute", workers=1)
    for _ in range(3):
        limiter.hit("key")
    for key in (42, b"key", None, []):
        with pytest.raises(OptionError, match="key must be a string"):
            limiter.hit(key)  # type: ignore[arg-type]
    for cost in (True, 1.5, 6, -1):
        with pytest.raises(CostError):
            limiter.hit("key", cost)  # type: ignore[arg-type]


@pytest.mark.parametrize("limit", [SlidingWindow(5000, per=3600), TokenBucket(5000, per=36000)], ids=str)
def test_threads_on_fast_paths_admit_exactly_the_limit(limit: Limit) -> None:
    limiter = Limiter(limit, workers=1)
    limiter.hit("key")
    barrier = threading.Barrier(8)

    def hits() -> int:
        barrier.wait()
        return sum(limiter.hit("key").allowed for _ in range(2000))

    with ThreadPoolExecutor(8) as pool:
        admitted = sum(one.result() for one in [pool.submit(hits) for _ in range(8)])
    assert 4999 <= admitted <= 5000  # a token may have been refilled


def test_counters_made_before_the_fast_path_go_on() -> None:
    store = MemoryStore(clock=ManualClock())
    limit = SlidingWindow(5, per=60)
    for key in ("x:key", "x", "y:key"):
        store.decide([Charge(key, limit, 3)])
    limiter = Limiter(limit, store=store, name="x", workers=1)
    assert limiter.peek("key").remaining == 2
    assert len(store) == 3
    assert [limiter.hit("key").allowed for _ in range(3)] == [True, True, False]
    for key in ("x", "y:key"):
        assert store.decide([Charge(key, limit, 0)])[0].remaining == 2
    assert Limiter(limit, store=store, name="x", workers=1).peek("key").remaining == 0


def test_the_fast_path_survives_what_empties_the_store() -> None:
    clock = ManualClock()
    store = MemoryStore(clock=clock)
    limiter = Limiter("2/minute", store=store, workers=1)
    for _ in range(3):
        limiter.hit("key")
    store.clear()
    assert [limiter.hit("key").allowed for _ in range(3)] == [True, True, False]
    clock.advance(3600)
    for number in range(300):  # the sweep visits tables of other limits, and drops idle ones
        store.decide([Charge("other", SlidingWindow(number + 1, per=1))])
        clock.advance(2)
    assert [limiter.hit("key").allowed for _ in range(3)] == [True, True, False]
    assert limiter.peek("key").remaining == 0


def test_the_table_of_a_limiter_that_is_gone_goes_too() -> None:
    clock = ManualClock()
    store = MemoryStore(clock=clock)
    for number in range(100):
        Limiter(f"{number + 1}/minute", store=store, workers=1).hit("key")
    clock.advance(3600)
    for _ in range(1000):
        store.decide([Charge("other", SlidingWindow(5, per=1))])
    assert len(list(store._tables)) == 1


class Asked:
    """Counts how often a store is asked; mixed in, or as part of a subclass."""

    asked = 0

    def decide(self, charges: Any) -> Any:
        self.asked += 1
        return super().decide(charges)  # type: ignore[misc]  # of the store that it is mixed into


class Derived(MemoryStore):
    asked = 0

    def decide(self, charges: Any) -> Any:
        self.asked += 1
        return super().decide(charges)


class Mixed(Asked, MemoryStore):
    pass


class Later(Derived):
    """Derives from a store that decides in its own way."""


@pytest.mark.parametrize("kind", [Derived, Mixed, Later])
def test_a_class_of_ones_own_that_decides_is_asked(kind: Any) -> None:
    store = kind()
    limiter = Limiter("5/minute", store=store, workers=1)
    for _ in range(5):
        assert limiter.hit("key")
    assert store.asked == 5


def test_a_lazy_decision_is_a_decision() -> None:
    store = MemoryStore(clock=ManualClock())
    limiter = Limiter("2/minute", store=store, workers=1)
    for _ in range(2):
        limiter.hit("key")
    denied = limiter.hit("key")
    assert not denied
    assert (denied.allowed, denied.degraded, denied.cached, denied.remaining) == (False, False, False, 0)
    assert denied.retry_after == 60.0
    assert denied.verdicts is denied.verdicts
    assert repr(denied) == "<Decision denied: 0 left of 2/minute, retry after 60 s, reset after 60 s>"
    again = pickle.loads(pickle.dumps(denied))
    assert (again.allowed, again.verdicts) == (False, denied.verdicts)
    both = Limiter("3/minute", "5/hour", store=store, name="both", workers=1)
    for left in (2, 1, 0):
        assert [verdict.remaining for verdict in both.hit("key").verdicts] == [left, left + 2]
    assert not both.hit("key")
