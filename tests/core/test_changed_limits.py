"""A counter outlives its number: programs of hits, refunds, resets, clock steps and changed numbers over one log.

The oracles are written from the promise, and remember everything: a sliding window every hit, a bucket its fraction, a
fixed window its count.
"""

from __future__ import annotations

from fractions import Fraction
from math import ceil, floor
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratelimit_kit import FixedWindow, SlidingWindow, TokenBucket
from ratelimit_kit.core.limit import FOREVER, SKEW, Limit

SECOND = 1_000_000
WINDOW = 10 * SECOND
START = 1_800_000_000 * SECOND

numbers = st.sampled_from([0, 1, 2, 3, 5, 8, 13, 100, 1000, 5000])
steps = st.one_of(
    st.integers(0, 3 * SECOND),
    st.sampled_from([0, 1, SECOND, WINDOW - 1, WINDOW, WINDOW + 1, 3 * WINDOW]),
    st.sampled_from([-1, -SECOND, -SKEW, -SKEW - 1, -5 * SECOND, -3600 * SECOND]),
)
words = st.sampled_from(["hit", "hit", "hit", "hit", "refund", "refund unknown", "reset", "peek"])
costs = st.sampled_from([1, 1, 1, 2, 3, 7, 400])
programs = st.lists(st.tuples(steps, numbers, words, costs), min_size=1, max_size=60)


class Window:
    """Every hit that is still counted, and the time from which the log is; a charge forgets those that have expired."""

    def __init__(self) -> None:
        self.hits: list[list[int]] = []
        self.born = 0

    def begin(self, now: int) -> int:
        """The time by which hits are judged, after the clock may have been set back."""
        if not self.hits:
            return now
        last = self.hits[-1][0]
        if last - now > SKEW:
            for hit in self.hits:
                hit[0] = min(hit[0], now)
            self.born = min(self.born, now)
            last = now
        return max(now, last)

    def used(self, time: int) -> int:
        return sum(cost for at, cost in self.hits if at > time - WINDOW)

    def peek(self, number: int, now: int, cost: int) -> tuple[bool, int, int, int]:
        time = self.begin(now)
        used, wanted = self.used(time), max(cost, 1)
        alive = [at for at, _ in self.hits if at > time - WINDOW]
        reset = alive[-1] + WINDOW - now if alive else 0
        wait = 0
        if used + wanted > number:
            ends = [at + WINDOW for at in alive]
            wait = next((end - now for end in ends if self.used(end) + wanted <= number), FOREVER)
        return cost == 0 or used + cost <= number, max(0, number - used), wait, reset

    def charge(self, number: int, now: int, cost: int) -> None:
        time = self.begin(now)
        self.hits = [[at, cost] for at, cost in self.hits if at > time - WINDOW]
        if not self.hits:
            self.born = time
        self.hits.append([time, cost])

    def refund(self, number: int, now: int, cost: int, charged_at: int | None) -> None:
        if not self.hits:
            return
        horizon = max(now, self.hits[-1][0]) - WINDOW
        if charged_at is not None and (charged_at < self.born or charged_at <= horizon):
            cost = 0
        kept = []
        for at, count in self.hits:
            if at <= horizon:
                continue
            taken = min(count, cost) if charged_at is None or at >= charged_at else 0
            cost -= taken
            if count > taken:
                kept.append([at, count - taken])
        self.hits = kept


class Bucket:
    """What is spent, as a fraction of tokens."""

    def __init__(self) -> None:
        self.spent = Fraction(0)
        self.at = self.born = 0
        self.writer = 0

    def see(self, number: int, now: int) -> tuple[Fraction, int]:
        """What is spent at `now` under a number, and how far the bucket is ahead of the clock."""
        if not self.spent:
            return Fraction(0), 0
        if self.at - now > SKEW:
            self.at, self.born = now, min(self.born, now)
        if now <= self.at:
            return self.spent, self.at - now
        if self.spent <= Fraction((now - self.at) * self.writer, WINDOW):
            return Fraction(0), 0
        return max(Fraction(0), self.spent - Fraction((now - self.at) * number, WINDOW)), 0

    def peek(self, number: int, now: int, cost: int) -> tuple[bool, int, int, int]:
        spent, ahead = self.see(number, now)
        missing = spent + max(cost, 1) - number
        wait = 0
        if missing > 0:
            wait = ceil(missing * WINDOW / number) + ahead if number else FOREVER
        reset = ceil(spent * WINDOW / number) + ahead if spent and number else 0
        if spent and number and self.writer > number:  # until it would have been full under the number that wrote it
            full = ceil(self.spent * WINDOW / self.writer) + self.at - now
            wait, reset = min(wait, full), min(reset, full)
        return cost == 0 or spent + cost <= number, max(0, floor(number - spent)), wait, reset

    def charge(self, number: int, now: int, cost: int) -> None:
        spent, ahead = self.see(number, now)
        if not spent:
            self.born = now
        self.writer = min(self.writer, number) if spent else number
        self.spent, self.at = spent + cost, now + ahead

    def refund(self, number: int, now: int, cost: int, charged_at: int | None) -> None:
        if not self.spent:
            return
        at = max(now, self.at)
        back = Fraction(cost)
        if charged_at is not None:
            elapsed = Fraction((at - charged_at) * number, WINDOW)
            back = max(Fraction(0), back - elapsed) if self.born <= charged_at <= at else Fraction(0)
        self.spent = max(Fraction(0), self.spent - back)
        if self.spent <= Fraction((at - self.at) * max(number, self.writer), WINDOW):
            self.spent = Fraction(0)


class Minute:
    """The count of a calendar minute."""

    def __init__(self) -> None:
        self.end = self.count = self.born = 0

    def begin(self, now: int) -> int:
        """What is counted at `now`, after the clock may have been set back."""
        if self.end and self.born - now > SKEW and now < self.end:
            self.end, self.born = min(self.end, now - now % (60 * SECOND) + 60 * SECOND), now
        return self.count if now < self.end else 0

    def peek(self, number: int, now: int, cost: int) -> tuple[bool, int, int, int]:
        count = self.begin(now)
        left = self.end - now if now < self.end else 0
        fits = count + max(cost, 1) <= number
        wait = 0 if fits else left if number else FOREVER
        return cost == 0 or count + cost <= number, max(0, number - count), wait, left

    def charge(self, number: int, now: int, cost: int) -> None:
        self.count = self.begin(now) + cost
        if now >= self.end:
            self.end, self.born = now - now % (60 * SECOND) + 60 * SECOND, now

    def refund(self, number: int, now: int, cost: int, charged_at: int | None) -> None:
        if now >= self.end:
            self.end = self.count = 0
            return
        if charged_at is not None:
            ends = charged_at - charged_at % (60 * SECOND) + 60 * SECOND
            if ends != self.end or not self.born <= charged_at <= now + SKEW:
                return
        self.count -= cost
        if self.count <= 0:
            self.end = self.count = 0


KINDS: list[tuple[Any, Any]] = [
    (lambda number: SlidingWindow(number, per="10 seconds", resolution=10_000), Window),
    (lambda number: TokenBucket(number, per="10 seconds"), Bucket),
    (lambda number: FixedWindow(number, per="minute"), Minute),
]


def charge(limit: Limit, state: Any, now: int, cost: int) -> Any:
    """What a store does: rewind, then charge if it fits."""
    state = state if state is None else limit.rewind(state, now)
    after = limit.try_charge(state, now, cost)
    return state if after is None else after


@pytest.mark.parametrize(("make", "oracle"), KINDS, ids=["sliding window", "token bucket", "fixed window"])
@given(program=programs)
def test_each_number_judges_the_one_log(make: Any, oracle: Any, program: list[tuple[int, int, str, int]]) -> None:
    now, state, exact = START, None, oracle()
    charged: list[tuple[int, int]] = []
    for step, number, word, given_cost in program:
        now += step
        limit = make(number)
        cost = min(given_cost, number) if number else given_cost
        if word in {"hit", "peek"}:
            asked = cost if word == "hit" else 0
            expected = exact.peek(number, now, asked)
            state = state if state is None else limit.rewind(state, now)
            found = limit.peek(state, now, asked)
            assert tuple(found) == expected
            after = limit.try_charge(state, now, asked) if asked else None
            assert (after is not None) == (asked > 0 and found.fits)
            if after is not None:
                state = after
                exact.charge(number, now, asked)
                charged.append((now, asked))
                assert exact.peek(number, now, 0)[1] == expected[1] - asked
        elif word == "reset":
            state, exact = None, oracle()
        else:
            charged_at, back = charged[given_cost % len(charged)] if charged else (now, 1)
            known = charged_at if word == "refund" else None
            state = limit.refund(state, now, back, known)
            exact.refund(number, now, back, known)
        if state is not None:
            assert limit.load(list(limit.dump(state))) == state
            assert len(limit.dump(state)) <= limit.max_numbers or number < 5000


@given(program=programs)
def test_a_window_never_holds_more_than_the_number_that_admitted_last(program: list[tuple[int, int, str, int]]) -> None:
    """In real time, which goes on while the clock steps: none of its windows is over-admitted."""
    real = now = START
    state, admitted = None, []
    for step, number, _, given_cost in program:
        now, real = now + step, real + max(step, 0)
        limit = SlidingWindow(number, per="10 seconds", resolution=4)
        cost = min(given_cost, number) if number else given_cost
        before = state if state is None else limit.rewind(state, now)
        after = limit.try_charge(before, now, cost)
        state = before if after is None else after
        if after is not None:
            admitted.append((real, cost))
            assert sum(one for at, one in admitted if at > real - WINDOW) <= number


@pytest.mark.parametrize(("make", "oracle"), KINDS, ids=["sliding window", "token bucket", "fixed window"])
@given(program=programs, back=st.sampled_from([SKEW + 1, 60 * SECOND, 3600 * SECOND, 86_400 * SECOND]))
def test_after_a_clock_was_set_back_the_wait_is_short_and_true(
    make: Any, oracle: Any, program: list[tuple[int, int, str, int]], back: int
) -> None:
    now, state = START, None
    for step, _, _, cost in program:
        now += abs(step) % WINDOW
        state = charge(make(5), state, now, min(cost, 5))
    now -= back
    limit = make(5)
    state = limit.rewind(state, now)
    wait = limit.peek(state, now, 5).wait
    assert wait <= (60 * SECOND if oracle is Minute else WINDOW) + SKEW
    for moment in (now, now + wait // 2, now + wait - 1):  # nobody is told another wait meanwhile
        if now <= moment < now + wait:
            seen = limit.rewind(state, moment)
            assert seen == state
            assert limit.peek(seen, moment, 5) == (
                False,
                limit.peek(seen, moment, 0).remaining,
                now + wait - moment,
                limit.peek(seen, moment, 0).reset,
            )
    assert limit.peek(limit.rewind(state, now + wait), now + wait, 5).fits


@pytest.mark.parametrize(("make", "oracle"), KINDS, ids=["sliding window", "token bucket", "fixed window"])
def test_what_was_counted_before_a_reset_is_never_refunded_from_what_came_after(make: Any, oracle: Any) -> None:
    limit = make(5)
    first = charge(limit, None, START, 5)
    assert limit.refund(first, START, 5, START) is None
    second = charge(limit, None, START + 10, 5)  # the first was reset meanwhile
    assert limit.refund(second, START + 20, 5, START) == (limit.refund(second, START + 20, 0, None))
    assert limit.peek(limit.refund(second, START + 20, 5, START), START + 20, 1).fits is False


def test_a_bucket_that_has_refilled_meanwhile_gives_nothing_back() -> None:
    limit = TokenBucket(5, per="10 seconds")
    state = charge(limit, None, START, 5)
    state = charge(limit, state, START + WINDOW, 5)  # full again, and emptied once more
    for _ in range(5):
        state = limit.refund(state, START + WINDOW, 1, START)
    assert not limit.peek(state, START + WINDOW, 1).fits


def test_a_lowered_bucket_is_in_debt_until_the_old_number_would_have_filled_it() -> None:
    high, low = TokenBucket(100, per="10 seconds"), TokenBucket(10, per="10 seconds")
    state = charge(high, None, START, 60)
    assert high.counter == low.counter
    assert low.peek(state, START, 1) == (False, 0, 6 * SECOND, 6 * SECOND)
    assert low.peek(state, START + SECOND, 1) == (False, 0, 5 * SECOND, 5 * SECOND)
    assert low.peek(state, START + 6 * SECOND, 1).fits


def test_numbers_too_large_for_a_double_begin_a_counter_of_their_own() -> None:
    assert TokenBucket(52_000, per="1 day").counter == TokenBucket(5, per="1 day").counter
    assert TokenBucket(60_000, per="1 day").counter != TokenBucket(5, per="1 day").counter
    assert TokenBucket(60_000, per="1 day").counter != TokenBucket(90_000, per="1 day").counter
