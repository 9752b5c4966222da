"""Random programs for stores, and a function that runs them on several stores and compares the decisions."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import strategies as st

from ratelimit_kit import Charge, FixedWindow, SlidingWindow, TokenBucket
from ratelimit_kit.core.limit import Limit
from ratelimit_kit.testing import ManualClock

LIMITS = [
    SlidingWindow(5, per=1),
    SlidingWindow(40, per=1, resolution=4),
    SlidingWindow(3, per=0.00002),
    TokenBucket(7, per=1, burst=9),
    TokenBucket(1000, per=3, burst=30),
    TokenBucket(3, per=3600),
    FixedWindow(5, per="minute"),
    FixedWindow(9, per="month", tz="Asia/Kathmandu"),
]

CHANGED = [
    SlidingWindow(2, per=1),
    SlidingWindow(0, per=1),
    SlidingWindow(3000, per=1, resolution=2),
    SlidingWindow(70_000, per=1, resolution=40),
    TokenBucket(20, per=1, burst=3),
    TokenBucket(0, per=1),
    TokenBucket(3000, per=1),
    FixedWindow(2, per="minute"),
    FixedWindow(0, per="minute"),
    FixedWindow(1000, per="minute"),
]
"""Other numbers for counters of LIMITS: a deploy that changes them, or two versions that serve at the same time."""


def some_limits(chance: random.Random) -> list[Limit]:
    """One to three limits of different counters."""
    found = {limit.counter: limit for limit in chance.sample(LIMITS + CHANGED, chance.randint(1, 3))}
    return list(found.values())


costs = st.one_of(st.integers(0, 3), st.sampled_from([0, 1, 3, 250, 2000]))
charge_lists = st.lists(
    st.tuples(st.sampled_from(["a", "b {c}"]), st.sampled_from(LIMITS + CHANGED), costs),
    min_size=1,
    max_size=4,
    unique_by=lambda one: (one[0], one[1].counter),
).map(lambda items: [Charge(key, limit, min(cost, limit.max_cost or cost)) for key, limit, cost in items])
operations = st.one_of(
    st.tuples(st.just("advance"), st.integers(-1_500_000, 3_000_000)),
    st.tuples(st.just("advance"), st.sampled_from([1, 31_250, 250_000, 1_000_000, 60_000_000])),
    st.tuples(st.just("decide"), charge_lists),
    st.tuples(st.just("decide"), charge_lists),
    st.tuples(st.just("decide"), charge_lists),
    st.tuples(st.just("refund"), st.tuples(charge_lists, st.one_of(st.none(), st.integers(0, 2_000_000)))),
    st.tuples(st.just("reset"), charge_lists),
)
programs = st.lists(operations, min_size=1, max_size=60)

steps_back = st.tuples(st.just("advance"), st.sampled_from([-2_000_000, -2_000_001, -10_000_000, -3_600_000_000]))
programs_of_wrong_clocks = st.lists(st.one_of(operations, steps_back), min_size=1, max_size=60)
"""Programs for stores that forget nothing by themselves: the memory store drops what has expired before a clock is set back."""

WIDTHS = [
    SlidingWindow(2, per=0.0002),
    SlidingWindow(250, per=0.00025),
    SlidingWindow(300, per=0.06),
    SlidingWindow(70_000, per=16),
    SlidingWindow(2**32 - 1, per=4294),
    SlidingWindow(2**40, per="30 days"),
]
"""Limits whose logs keep stamps and counts in 1, 2, 3, 4 and 8 bytes, up to the largest value of each."""


def around(limit: SlidingWindow) -> list[tuple[str, Any]]:
    """A program in which stamps and counts wrap around several times in the bytes that are kept."""
    third, step = Charge("key", limit, max(1, limit.limit // 3)), limit.window // 4
    return [
        operation
        for number in range(80)
        for operation in (
            ("advance", step + number % 3),
            ("decide", [third]),
            *([("refund", ([third], step))] if number % 16 == 9 else ()),
        )
    ]


def run(program: list[tuple[str, Any]], clock: ManualClock, *stores: Any) -> None:
    """Run a program on all stores and compare every decision with the first store's."""
    for word, argument in program:
        if word == "advance":
            clock.advance(argument / 1_000_000)
        elif word == "decide":
            first, *others = [store.decide(argument) for store in stores]
            for other in others:
                assert list(other) == list(first)
        elif word == "refund":
            charges, age = argument
            stamp = None if age is None else clock() // 1000 - age
            for store in stores:
                store.refund(charges, stamp)
        else:
            for store in stores:
                store.reset(argument)
