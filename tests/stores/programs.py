"""Random programs for stores, and a function that runs them on several stores and compares the decisions."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from ratelimit_kit import Charge, FixedWindow, SlidingWindow, TokenBucket
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

counters = st.tuples(st.sampled_from(["a", "b {c}"]), st.sampled_from(LIMITS))
charge_lists = st.lists(
    st.tuples(counters, st.integers(0, 3)), min_size=1, max_size=4, unique_by=lambda one: one[0]
).map(lambda items: [Charge(key, limit, cost) for (key, limit), cost in items])
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
