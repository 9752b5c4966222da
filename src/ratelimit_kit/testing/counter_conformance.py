"""What the suite for stores expects of one counter: numbers that change, refunds, resets, and a clock that is set back."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from ratelimit_kit.core.durations import MICROSECONDS
from ratelimit_kit.core.fixed_window import FixedWindow
from ratelimit_kit.core.limit import Limit
from ratelimit_kit.core.sliding_window import SlidingWindow
from ratelimit_kit.core.token_bucket import TokenBucket
from ratelimit_kit.stores import Charge, Store
from ratelimit_kit.testing.clock import ManualClock
from ratelimit_kit.testing.sync_async import API, Async, Sync

START = 1_800_000_000
"""When the suite's clock starts, in seconds since the epoch."""

LIMITS: tuple[Limit, ...] = (
    SlidingWindow(5, per=60),
    SlidingWindow(40, per=1, resolution=4),
    TokenBucket(5, per=60),
    TokenBucket(7, per=1, burst=9),
    FixedWindow(5, per="week"),
    FixedWindow(9, per="month", tz="Asia/Kathmandu"),
)

CHANGED: tuple[Limit, ...] = (
    SlidingWindow(2, per=60),
    SlidingWindow(0, per=60),
    SlidingWindow(400, per=1, resolution=9),
    TokenBucket(20, per=60, burst=3),
    TokenBucket(0, per=60),
    FixedWindow(2, per="week"),
    FixedWindow(0, per="week"),
)
"""Other numbers for the counters of LIMITS, as two versions of an application have them."""

KEYS = ("plain", "two words", "line\r\nbreak", "{braces}", "naïve ключ", "percent%20", "", "x" * 300, "x" * 301, "\x00")
"""Texts that must be separate counters, and must not break any protocol."""


class CounterConformance:
    """The part of StoreConformance about one counter after another."""

    def make_store(self, clock: Callable[[], int]) -> Store:
        """An empty store that uses `clock` (nanoseconds)."""
        raise NotImplementedError("StoreConformance: write make_store(self, clock), which returns an empty store")

    def pytest_generate_tests(self, metafunc: Any) -> None:
        """Run each test for every algorithm, and for both APIs if it uses them."""
        if "limit" in metafunc.fixturenames:
            metafunc.parametrize("limit", LIMITS, ids=str)
        if "api" in metafunc.fixturenames:
            metafunc.parametrize("api", [Sync, Async], ids=["sync", "async"])

    @contextlib.contextmanager
    def _open(self, api: type[API]) -> Iterator[tuple[ManualClock, API]]:
        clock = ManualClock(start=START)
        store = self.make_store(clock)
        with api(store) as opened:
            yield clock, opened
        store.close()

    def test_refunds_and_resets(self, limit: Limit, api: type[API]) -> None:
        """Refunded units can be used again, but never more than were charged."""
        with self._open(api) as (_, store):
            full = [Charge("key", limit, limit.max_cost)]
            store.refund(full)
            store.decide(full)
            store.refund([Charge("key", limit, 2)])
            equal(store.decide([Charge("key", limit, 0)])[0].remaining, 2, "remaining after a refund of 2")
            store.refund(full)
            store.refund(full)
            equal(store.decide([Charge("key", limit, 0)])[0].remaining, limit.max_cost, "remaining after refunds")
            store.decide(full)
            store.reset(full)
            equal(store.decide(full)[0].allowed, True, "after a reset")

    def test_a_refund_finds_its_hit(self, api: type[API]) -> None:
        """A verdict tells when its hit was made, and a refund for that time gives back that hit, not an older one."""
        limit = SlidingWindow(3, per=60)
        with self._open(api) as (clock, store):
            store.decide([Charge("key", limit)])
            clock.advance(50)
            (verdict,) = store.decide([Charge("key", limit)])
            store.refund([Charge("key", limit)], verdict.charged_at or None)
            clock.advance(10)
            equal(store.decide([Charge("key", limit, 0)])[0].remaining, 3, "remaining once the older hit has expired")

    def test_a_changed_number_goes_on_from_what_was_counted(self, api: type[API]) -> None:
        """Each number judges the one counter, and forgets nothing that another has counted."""
        for make in (lambda number: SlidingWindow(number, per=60), lambda number: TokenBucket(number, per=60),
                     lambda number: FixedWindow(number, per="week")):  # fmt: skip
            with self._open(api) as (_, store):
                full = [store.decide([Charge("key", make(5))])[0].allowed for _ in range(6)]
                equal(full, [True] * 5 + [False], "admissions by 5")
                equal(store.decide([Charge("key", make(2))])[0].allowed, False, "another one by 2")
                equal(store.decide([Charge("key", make(2), 0)])[0].remaining, 0, "remaining of 2")
                equal(store.decide([Charge("key", make(400), 300)])[0].remaining, 95, "remaining of 400")
                equal(store.decide([Charge("key", make(5))])[0].allowed, False, "one more by 5")

    def test_a_limit_of_zero_refuses_always(self, api: type[API]) -> None:
        """Any cost is refused, and no wait helps."""
        for limit in (SlidingWindow(0, per=60), TokenBucket(0, per=60), FixedWindow(0, per="week")):
            with self._open(api) as (_, store):
                for cost in (1, 5):
                    verdict = store.decide([Charge("key", limit, cost)])[0]
                    equal((verdict.allowed, verdict.remaining), (False, 0), f"a cost of {cost} under 0")
                    equal(verdict.retry_after, float("inf"), "retry_after")

    def test_what_was_counted_before_a_reset_is_not_refunded(self, limit: Limit, api: type[API]) -> None:
        """A hit whose counter is gone gives nothing back to the hits that came after."""
        with self._open(api) as (clock, store):
            before = store.decide([Charge("key", limit, limit.max_cost)])[0]
            clock.advance(0.001)
            store.reset([Charge("key", limit)])
            clock.advance(0.001)
            store.decide([Charge("key", limit, limit.max_cost)])
            store.refund([Charge("key", limit, limit.max_cost)], before.charged_at or None)
            equal(store.decide([Charge("key", limit)])[0].allowed, False, "a hit after the refund")

    def test_after_a_clock_was_set_back_nobody_waits_longer_than_a_window(self, limit: Limit, api: type[API]) -> None:
        """The wait is told once, and is true; an hour's error of the clock is forgotten."""
        with self._open(api) as (clock, store):
            store.decide([Charge("key", limit, limit.max_cost)])
            clock.advance(-3600)
            wait = store.decide([Charge("key", limit)])[0].wait
            equal(wait <= limit.max_lifetime, True, "the wait is at most a window")
            clock.advance((wait - 1) / MICROSECONDS)
            equal(store.decide([Charge("key", limit)])[0].allowed, False, "a microsecond before")
            clock.advance(1 / MICROSECONDS)
            equal(store.decide([Charge("key", limit)])[0].allowed, True, "at the announced moment")

    def test_counters_do_not_meet(self, api: type[API]) -> None:
        """Different keys, whatever their text, and one key under several limits are separate counters."""
        with self._open(api) as (_, store):
            for key in KEYS:
                for limit in LIMITS:
                    full = Charge(key, limit, limit.max_cost)
                    equal(store.decide([full])[0].allowed, True, f"the first hit of {key[:20]!r} under {limit}")
                    equal(store.decide([full])[0].allowed, False, f"the second hit of {key[:20]!r} under {limit}")


def equal(found: object, expected: object, what: str) -> None:
    """Fail, naming `what` is compared, unless both are equal."""
    if found != expected:
        raise AssertionError(f"{what}: expected {expected!r}, got {found!r}")


def raises(error: type[Exception], work: Callable[[], object]) -> None:
    """Fail unless `work` raises the error."""
    try:
        found = work()
    except error:
        return
    raise AssertionError(f"expected {error.__name__}, got {found!r}")
