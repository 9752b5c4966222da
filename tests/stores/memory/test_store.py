from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given

from ratelimit_kit import Charge, FixedWindow, Limiter, MemoryStore, SlidingWindow, TokenBucket
from ratelimit_kit.core.events import Event
from ratelimit_kit.core.limit import Limit
from ratelimit_kit.errors import CostError, OptionError
from ratelimit_kit.testing import ManualClock
from ratelimit_kit.testing.model import Model
from tests.stores.programs import programs, run

LIMITS = [SlidingWindow(5, per=60), TokenBucket(5, per=60), FixedWindow(5, per="minute")]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.mark.parametrize("limit", LIMITS, ids=str)
def test_a_hundred_threads_admit_exactly_the_limit(limit: Limit) -> None:
    store = MemoryStore(clock=ManualClock())
    barrier = threading.Barrier(100)

    def hit(_: int) -> bool:
        barrier.wait()
        return store.decide([Charge("key", limit)])[0].allowed

    with ThreadPoolExecutor(100) as pool:
        assert sum(pool.map(hit, range(100))) == 5


def test_one_denial_leaves_every_counter_untouched(clock: ManualClock) -> None:
    store = MemoryStore(clock=clock)
    user, address, everyone = SlidingWindow(10, per=60), TokenBucket(10, per=60), SlidingWindow(1, per=60)
    charges = [Charge("user", user), Charge("ip", address), Charge("global", everyone)]
    assert all(verdict.allowed for verdict in store.decide(charges))
    assert [verdict.allowed for verdict in store.decide(charges)] == [True, True, False]
    left = [store.decide([charge._replace(cost=0)])[0].remaining for charge in charges]
    assert left == [9, 9, 0]


def test_the_same_key_under_another_limit_is_another_counter(clock: ManualClock) -> None:
    store = MemoryStore(clock=clock)
    for limit in (*LIMITS, SlidingWindow(5, per=61)):
        assert store.decide([Charge("key", limit, 5)])[0].allowed
        assert not store.decide([Charge("key", limit, 1)])[0].allowed


def test_a_counter_named_twice_is_an_error() -> None:
    limit = SlidingWindow(5, per=60)
    with pytest.raises(OptionError, match="same counter"):
        MemoryStore().decide([Charge("key", limit), Charge("key", limit)])


def test_a_cost_above_the_limit_is_an_error_and_writes_nothing() -> None:
    store = MemoryStore()
    with pytest.raises(CostError):
        store.decide([Charge("key", SlidingWindow(5, per=60), 6)])
    assert len(store) == 0


def test_expired_counters_are_forgotten_without_a_timer(clock: ManualClock) -> None:
    store = MemoryStore(clock=clock)
    limit = SlidingWindow(5, per=60)
    for number in range(1000):
        store.decide([Charge(f"key {number}", limit)])
    assert len(store) == 1000
    clock.advance(70)
    for _ in range(17):
        store.decide([Charge("other", limit, 0)])
    assert len(store) == 0


def test_live_counters_are_kept_however_often_they_are_looked_at(clock: ManualClock) -> None:
    store = MemoryStore(clock=clock)
    limit = SlidingWindow(5, per=60)
    for _ in range(20):
        assert store.decide([Charge("key", limit)])[0].allowed
        clock.advance(30)
    assert store.decide([Charge("key", limit, 0)])[0].remaining == 4


def test_throw_away_keys_do_not_move_a_limited_key_out(clock: ManualClock) -> None:
    store = MemoryStore(max_keys=100, clock=clock)
    limit = SlidingWindow(5, per=60)
    victim = Charge("victim", limit)
    store.decide([victim._replace(cost=5)])
    for number in range(10_000):
        store.decide([Charge(f"throw-away {number}", limit)])
    assert not store.decide([victim])[0].allowed
    assert len(store) <= 101


def test_beyond_the_bound_new_keys_share_one_strict_counter(clock: ManualClock) -> None:
    events: list[Event] = []
    store = MemoryStore(max_keys=10, clock=clock)
    store.on_event = events.append
    limit = SlidingWindow(5, per=60)
    for number in range(10):
        store.decide([Charge(f"early {number}", limit)])
    admitted = [store.decide([Charge(f"late {number}", limit)])[0].allowed for number in range(50)]
    assert sum(admitted) == 5
    assert [event.name for event in events] == ["memory-overflow"]


def test_two_charges_that_share_the_overflow_are_counted_together(clock: ManualClock) -> None:
    store = MemoryStore(max_keys=1, clock=clock)
    limit = SlidingWindow(5, per=60)
    store.decide([Charge("first", limit)])
    both = [Charge("a", limit, 3), Charge("b", limit, 3)]
    assert not any(verdict.allowed for verdict in store.decide(both))
    assert all(verdict.allowed for verdict in store.decide([Charge("a", limit, 2), Charge("b", limit, 3)]))
    assert not store.decide([Charge("c", limit)])[0].allowed


def test_a_key_that_finds_room_again_does_not_get_its_quota_twice(clock: ManualClock) -> None:
    store = MemoryStore(max_keys=1, clock=clock)
    limit = SlidingWindow(5, per=60)
    store.decide([Charge("first", limit)])
    assert store.decide([Charge("late", limit, 5)])[0].allowed
    store.reset([Charge("first", limit)])
    assert not store.decide([Charge("late", limit)])[0].allowed
    clock.advance(60)
    assert store.decide([Charge("late", limit, 5)])[0].allowed


def test_a_forked_child_starts_from_nothing_and_with_a_free_lock() -> None:
    store = MemoryStore()
    limiter = Limiter("1/minute", store=store)
    heard: list[Event] = []
    store.on_event = heard.append
    assert limiter.hit("key")
    assert not limiter.hit("key")
    with store._tables.lock:
        child = os.fork()
        if child == 0:
            admitted = [limiter.hit("key").allowed for _ in range(2)]
            said = [(event.name, event.facts["counters"]) for event in heard]
            os._exit(0 if admitted == [True, False] and said == [("memory-forked", 1)] else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert not limiter.hit("key")
    assert heard == []


@pytest.mark.parametrize("max_keys", [0, -1, True, "many"])
def test_the_bound_is_a_number_of_counters(max_keys: object) -> None:
    with pytest.raises(OptionError, match="max_keys"):
        MemoryStore(max_keys=max_keys)  # type: ignore[arg-type]


@given(programs.map(lambda program: [(word, abs(value) if word == "advance" else value) for word, value in program]))
def test_the_store_answers_as_the_bare_steps_do(program: list[tuple[str, Any]]) -> None:
    clock = ManualClock(start=1_800_000_000)
    run(program, clock, Model(clock), MemoryStore(clock=clock))


def test_limits_that_count_nothing_any_more_are_forgotten(clock: ManualClock) -> None:
    store = MemoryStore(clock=clock)
    for number in range(1, 500):
        store.decide([Charge("key", SlidingWindow(number, per=60))])
    clock.advance(120)
    for _ in range(1000):
        store.decide([Charge("key", SlidingWindow(5, per=60), 0)])
    assert len(store) == 0
    assert len(list(store._tables)) == 1


@given(programs.map(lambda program: [(word, abs(value) if word == "advance" else value) for word, value in program]))
def test_the_number_of_live_counters_is_right(program: list[tuple[str, Any]]) -> None:
    clock = ManualClock(start=1_800_000_000)
    store = MemoryStore(clock=clock)
    run(program, clock, store)
    assert len(store) == sum(len(table.states) for table in store._tables)


def test_no_charge_at_all_is_no_decision() -> None:
    assert MemoryStore().decide([]) == []


@pytest.mark.slow
def test_a_million_throw_away_keys_move_no_limited_key_out_and_their_memory_returns() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.stores.flood"], capture_output=True, text=True, check=True, timeout=120
    )
    found = json.loads(done.stdout)
    assert found["still_limited"]
    assert found["keys"] <= 1_000_001
    assert found["live"] <= 2
    assert found["returned"] > 0.9
