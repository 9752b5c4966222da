"""The laws of the algorithms, against exact oracles, on random programs of steps and costs."""

from __future__ import annotations

import copy
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ratelimit_kit import FixedWindow, SlidingWindow, TokenBucket
from ratelimit_kit.core.limit import Limit
from tests.core.oracles import BucketOracle, CalendarOracle, WindowOracle

SECOND = 1_000_000

steps = st.one_of(
    st.integers(0, 5),
    st.integers(0, 2_000_000),
    st.sampled_from([SECOND, SECOND - 1, SECOND + 1, 31_250, 10 * SECOND]),
)
programs = st.lists(st.tuples(steps, st.integers(0, 5)), min_size=1, max_size=120)
sliding_windows = st.builds(
    SlidingWindow,
    st.integers(5, 60),
    per=st.sampled_from([0.00002, 0.0005, 1, 1.5]),
    resolution=st.sampled_from([1, 2, 8, 32, 64]),
)
exact_windows = st.builds(SlidingWindow, st.integers(5, 32), per=st.sampled_from([0.00002, 0.5, 1, 1.5]))
token_buckets = st.builds(
    TokenBucket, st.integers(1, 1000), per=st.sampled_from([0.0003, 1, 7, 60]), burst=st.integers(5, 40)
)
fixed_windows = st.builds(
    FixedWindow,
    st.integers(5, 20),
    per=st.sampled_from(["minute", "hour", "day", "week", "month"]),
    tz=st.sampled_from(["UTC", "Europe/Paris", "Asia/Kathmandu"]),
)
limits = st.one_of(sliding_windows, token_buckets, fixed_windows)


class Model:
    """A limit with its state: a store for a single key."""

    def __init__(self, limit: Limit) -> None:
        self.limit: Any = limit
        self.state: Any = None

    def peek(self, now: int, cost: int) -> Any:
        return self.limit.peek(self.state, now, cost)

    def hit(self, now: int, cost: int) -> Any:
        peek = self.peek(now, cost)
        if peek.fits and cost:
            self.state = self.limit.try_charge(self.state, now, cost)
            assert self.peek(now, 0).remaining == peek.remaining - cost
        return peek


def run(program: list[tuple[int, int]], start: int = 0) -> list[tuple[int, int]]:
    now = start
    timed = []
    for step, cost in program:
        now += step
        timed.append((now, cost))
    return timed


@given(sliding_windows, programs)
def test_no_window_ever_holds_more_than_the_limit(limit: SlidingWindow, program: list[tuple[int, int]]) -> None:
    model, oracle = Model(limit), WindowOracle(limit.limit, limit.window)
    for now, cost in run(program):
        if model.hit(now, cost).fits and cost:
            oracle.hits.append((now, cost))
    assert oracle.fullest() <= limit.limit


@given(exact_windows, programs)
def test_up_to_the_resolution_the_window_is_exact(limit: SlidingWindow, program: list[tuple[int, int]]) -> None:
    model, oracle = Model(limit), WindowOracle(limit.limit, limit.window)
    for now, cost in run(program):
        assert model.peek(now, 0).remaining == oracle.remaining(now)
        assert model.hit(now, cost).fits == oracle.admit(now, cost)


@given(sliding_windows, programs)
def test_the_window_forgives_late_by_less_than_a_granule(limit: SlidingWindow, program: list[tuple[int, int]]) -> None:
    model, late = Model(limit), WindowOracle(limit.limit, limit.window + limit.window // limit.resolution)
    for now, cost in run(program):
        admitted = model.hit(now, cost).fits
        assert admitted or late.used(now) + cost > limit.limit
        if admitted and cost:
            late.hits.append((now, cost))


@given(sliding_windows, programs)
def test_the_log_is_bounded_by_the_resolution(limit: SlidingWindow, program: list[tuple[int, int]]) -> None:
    model = Model(limit)
    granules = -(-limit.window // limit.granule)
    for now, cost in run(program):
        model.hit(now, cost)
        assert model.state is None or len(limit.dump(model.state)) // 2 <= limit.resolution + granules + 1


@given(token_buckets, programs)
def test_the_token_bucket_is_its_fraction(limit: TokenBucket, program: list[tuple[int, int]]) -> None:
    model, oracle = Model(limit), BucketOracle(limit.limit, round(limit.per * SECOND), limit.burst)
    for now, cost in run(program):
        peek = model.peek(now, cost)
        assert peek.remaining == oracle.remaining(now)
        assert peek.wait == oracle.wait(now, cost or 1)
        assert model.hit(now, cost).fits == oracle.admit(now, cost)


@given(
    st.builds(FixedWindow, st.integers(5, 20), per=st.sampled_from(["minute", "hour", "day", "week", "month"])),
    st.lists(st.tuples(st.integers(0, 40 * 86_400 * SECOND), st.integers(0, 5)), min_size=1, max_size=40),
)
def test_the_fixed_window_follows_the_calendar(limit: FixedWindow, program: list[tuple[int, int]]) -> None:
    model, oracle = Model(limit), CalendarOracle(limit.limit, limit.per)
    for now, cost in run(program, start=1_700_000_000 * SECOND):
        assert model.peek(now, 0).remaining == oracle.remaining(now)
        assert model.hit(now, cost).fits == oracle.admit(now, cost)


@given(limits, programs, st.integers(0, 10**16 // 8))
def test_refused_just_before_retry_after_and_admitted_at_it(
    limit: Limit, program: list[tuple[int, int]], start: int
) -> None:
    model = Model(limit)
    for now, cost in run(program, start):
        peek = model.hit(now, cost)
        if not peek.fits:
            assert peek.wait > 0
            assert model.peek(now + peek.wait, cost).fits
            assert not model.peek(now + peek.wait - 1, cost).fits


@given(limits, programs)
def test_a_denial_and_a_cost_of_zero_change_nothing(limit: Limit, program: list[tuple[int, int]]) -> None:
    model = Model(limit)
    for now, cost in run(program):
        before = copy.deepcopy(model.state)
        peek = model.hit(now, cost)
        if not peek.fits or cost == 0:
            assert model.state == before


@given(limits, programs)
def test_no_state_matters_after_reset_after(limit: Limit, program: list[tuple[int, int]]) -> None:
    model = Model(limit)
    for now, cost in run(program):
        model.hit(now, cost)
        if model.state is not None:
            reset = model.peek(now, 0).reset
            assert reset <= limit.max_lifetime
            assert model.peek(now + reset, 0) == (True, limit.max_cost, 0, 0)


@given(limits, programs, st.integers(1, 5))
def test_a_clock_that_runs_backwards_admits_nothing_more(
    limit: Limit, program: list[tuple[int, int]], cost: int
) -> None:
    model = Model(limit)
    for now, spent in run(program, start=86_400 * SECOND):
        model.hit(now, spent)
        left = model.peek(now, 0).remaining
        if model.state is not None and not isinstance(limit, FixedWindow):
            assert model.peek(now - 5 * SECOND, cost).remaining <= left


@given(limits, programs, st.integers(1, 5))
def test_a_refund_undoes_a_hit(limit: Limit, program: list[tuple[int, int]], cost: int) -> None:
    model = Model(limit)
    for now, spent in run(program):
        model.hit(now, spent)
        before = model.peek(now, 0).remaining
        if model.peek(now, cost).fits:
            model.hit(now, cost)
            model.state = model.limit.refund(model.state, now, cost, now)
            assert model.peek(now, 0).remaining == before


@given(exact_windows, programs, st.lists(st.integers(0, 200), max_size=20))
def test_the_window_holds_for_hits_that_were_not_refunded(
    limit: SlidingWindow, program: list[tuple[int, int]], refunds: list[int]
) -> None:
    model, oracle = Model(limit), WindowOracle(limit.limit, limit.window)
    for number, (now, cost) in enumerate(run(program)):
        if model.hit(now, cost).fits and cost:
            oracle.hits.append((now, cost))
        if number in refunds and oracle.hits:
            at, given_back = oracle.hits.pop(number % len(oracle.hits))
            model.state = model.limit.refund(model.state, now, given_back, at)
    assert oracle.fullest() <= limit.limit


@given(limits, programs, st.integers(-5, 2_000_000))
def test_a_charge_fits_where_a_peek_says_so_and_a_dumped_state_is_the_same(
    limit: Limit, program: list[tuple[int, int]], back: int
) -> None:
    model = Model(limit)
    for now, cost in run(program, start=86_400 * SECOND):
        model.hit(now, cost)
        if model.state is None:
            continue
        before = copy.deepcopy(model.state)
        assert limit.load(list(limit.dump(model.state))) == model.state
        for asked in (1, 3, limit.max_cost + 1):
            charged = limit.try_charge(model.state, now - back, asked)
            assert (charged is not None) == (
                asked <= limit.max_cost and limit.peek(model.state, now - back, asked).fits
            )
        assert model.state == before


@given(limits, st.integers(1, 10), st.integers(0, 10**12))
def test_the_first_charge_makes_the_state(limit: Limit, cost: int, now: int) -> None:
    state = limit.try_charge(None, now, cost)
    assert (state is not None) == (cost <= limit.max_cost)
    if state is not None:
        assert limit.peek(state, now, 0).remaining == limit.max_cost - cost
