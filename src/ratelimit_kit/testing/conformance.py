"""The suite that every store must pass, whether from this library or elsewhere.

    class TestMyStore(StoreConformance):
        def make_store(self, clock):
            return MyStore(clock=clock)

pytest collects the class and runs each test for every algorithm, with the sync API and the async API.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ratelimit_kit.core.decision import Verdict
from ratelimit_kit.core.durations import MICROSECONDS
from ratelimit_kit.core.fixed_window import FixedWindow
from ratelimit_kit.core.limit import Limit
from ratelimit_kit.core.sliding_window import SlidingWindow
from ratelimit_kit.core.token_bucket import TokenBucket
from ratelimit_kit.errors import CostError, OptionError
from ratelimit_kit.stores import Charge, Scope, Store
from ratelimit_kit.testing.clock import ManualClock
from ratelimit_kit.testing.model import Model
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

KEYS = ("plain", "two words", "line\r\nbreak", "{braces}", "naïve ключ", "percent%20", "", "x" * 300, "x" * 301, "\x00")
"""Texts that must be separate counters, and must not break any protocol."""

CLIENTS = 100
"""Threads, or tasks, that use the same counter concurrently."""


class StoreConformance:
    """Tests of a store; a subclass implements `make_store`.

    `make_store(clock)` returns an empty store that uses `clock` (nanoseconds). `rounds` is how often concurrency tests
    are repeated with the first limit (a fifth with others), `programs` how many random programs are run.
    """

    rounds = 3
    programs = 20

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

    def _rounds(self, limit: Limit) -> int:
        return self.rounds if limit == LIMITS[0] else -(-self.rounds // 5)

    def test_it_is_a_store_that_answers(self) -> None:
        """It has every method and a scope, and replies to a ping."""
        store = self.make_store(ManualClock(start=START))
        _equal(isinstance(store, Store), True, "isinstance(store, Store)")
        _equal(isinstance(store.scope, Scope), True, "isinstance(store.scope, Scope)")
        store.ping()
        asyncio.run(_ping(store))
        store.close()

    def test_the_same_programs_get_the_same_answers(self, api: type[API]) -> None:
        """Random programs get exactly the decisions of the limits themselves."""
        for seed in range(self.programs):
            with self._open(api) as (clock, store):
                _run(random.Random(seed), clock, Model(clock), store)  # noqa: S311 - no secret

    def test_it_admits_the_limit_and_no_more(self, limit: Limit, api: type[API]) -> None:
        """As many units as the limit are admitted right away, and the next is denied with a wait."""
        with self._open(api) as (_, store):
            admitted = [store.decide([Charge("key", limit)])[0].allowed for _ in range(limit.max_cost + 2)]
            _equal(admitted, [True] * limit.max_cost + [False] * 2, "admissions")
            _equal(store.decide([Charge("key", limit)])[0].retry_after > 0, True, "retry_after > 0")

    def test_a_denial_changes_nothing(self, limit: Limit, api: type[API]) -> None:
        """After any number of denials the same hit is admitted at the same moment."""
        with self._open(api) as (_, store):
            store.decide([Charge("key", limit, limit.max_cost)])
            first = store.decide([Charge("key", limit, 1)])
            for _ in range(3):
                _equal(store.decide([Charge("key", limit, 1)]), first, "verdicts of a repeated denial")

    def test_the_announced_wait_is_exact(self, limit: Limit, api: type[API]) -> None:
        """A hit is denied one microsecond before the announced time, and admitted at it."""
        with self._open(api) as (clock, store):
            store.decide([Charge("key", limit, limit.max_cost)])
            wait = store.decide([Charge("key", limit, 1)])[0].wait
            clock.advance((wait - 1) / MICROSECONDS)
            _equal(store.decide([Charge("key", limit, 1)])[0].allowed, False, "a microsecond before")
            clock.advance(1 / MICROSECONDS)
            _equal(store.decide([Charge("key", limit, 1)])[0].allowed, True, "at the announced moment")

    def test_charges_are_admitted_together_or_not_at_all(self, limit: Limit, api: type[API]) -> None:
        """One denied charge leaves every other counter unchanged."""
        other = SlidingWindow(1, per=3600)
        both = [Charge("one", limit, 1), Charge("two", other, 1)]
        with self._open(api) as (_, store):
            _equal([verdict.allowed for verdict in store.decide(both)], [True, True], "the first time")
            before = store.decide([Charge("one", limit, 0)])
            for _ in range(3):
                _equal([verdict.allowed for verdict in store.decide(both)], [True, False], "the second time")
            _equal(store.decide([Charge("one", limit, 0)]), before, "the counter that was not refused")

    def test_a_cost_of_zero_writes_nothing(self, limit: Limit, api: type[API]) -> None:
        """A peek changes nothing."""
        with self._open(api) as (_, store):
            for _ in range(limit.max_cost + 1):
                _equal(store.decide([Charge("key", limit, 0)])[0].remaining, limit.max_cost, "remaining after a peek")

    def test_refunds_and_resets(self, limit: Limit, api: type[API]) -> None:
        """Refunded units can be used again, but never more than were charged."""
        with self._open(api) as (_, store):
            full = [Charge("key", limit, limit.max_cost)]
            store.refund(full)
            store.decide(full)
            store.refund([Charge("key", limit, 2)])
            _equal(store.decide([Charge("key", limit, 0)])[0].remaining, 2, "remaining after a refund of 2")
            store.refund(full)
            store.refund(full)
            _equal(store.decide([Charge("key", limit, 0)])[0].remaining, limit.max_cost, "remaining after refunds")
            store.decide(full)
            store.reset(full)
            _equal(store.decide(full)[0].allowed, True, "after a reset")

    def test_a_refund_finds_its_hit(self, api: type[API]) -> None:
        """A verdict tells when its hit was made, and a refund for that time gives back that hit, not an older one."""
        limit = SlidingWindow(3, per=60)
        with self._open(api) as (clock, store):
            store.decide([Charge("key", limit)])
            clock.advance(50)
            (verdict,) = store.decide([Charge("key", limit)])
            store.refund([Charge("key", limit)], verdict.charged_at or None)
            clock.advance(10)
            _equal(store.decide([Charge("key", limit, 0)])[0].remaining, 3, "remaining once the older hit has expired")

    def test_counters_do_not_meet(self, api: type[API]) -> None:
        """Different keys, whatever their text, and one key under several limits are separate counters."""
        with self._open(api) as (_, store):
            for key in KEYS:
                for limit in LIMITS:
                    full = Charge(key, limit, limit.max_cost)
                    _equal(store.decide([full])[0].allowed, True, f"the first hit of {key[:20]!r} under {limit}")
                    _equal(store.decide([full])[0].allowed, False, f"the second hit of {key[:20]!r} under {limit}")

    def test_what_cannot_be_is_an_error(self, limit: Limit, api: type[API]) -> None:
        """A cost that can never be admitted and a counter named twice raise errors."""
        with self._open(api) as (_, store):
            _raises(CostError, lambda: store.decide([Charge("key", limit, limit.max_cost + 1)]))
            _raises(CostError, lambda: store.decide([Charge("key", limit, -1)]))
            _raises(OptionError, lambda: store.decide([Charge("key", limit), Charge("key", limit)]))
            _equal(store.decide([]), [], "no charges")

    def test_threads_admit_exactly_the_limit(self, limit: Limit) -> None:
        """A hundred concurrent threads get exactly the limit, whatever the interleaving."""
        for _ in range(self._rounds(limit)):
            store = self.make_store(ManualClock(start=START))
            barrier = threading.Barrier(CLIENTS)

            def hit(_: int, store: Store = store, barrier: threading.Barrier = barrier) -> bool:
                barrier.wait()
                return store.decide([Charge("key", limit)])[0].allowed

            with ThreadPoolExecutor(CLIENTS) as pool:
                _equal(sum(pool.map(hit, range(CLIENTS))), min(CLIENTS, limit.max_cost), "admissions")
            store.close()

    def test_tasks_admit_exactly_the_limit(self, limit: Limit) -> None:
        """A hundred concurrent tasks get exactly the limit, on every event loop."""
        for _ in range(self._rounds(limit)):
            store = self.make_store(ManualClock(start=START))

            async def hits(store: Store = store) -> int:
                answers = await asyncio.gather(*[store.adecide([Charge("key", limit)]) for _ in range(CLIENTS)])
                await store.aclose()
                return sum(answer[0].allowed for answer in answers)

            _equal(asyncio.run(hits()), min(CLIENTS, limit.max_cost), "admissions")
            store.close()

    def test_both_apis_count_together(self, limit: Limit) -> None:
        """What one API admits is used up for the other; a closed store reopens."""
        store = self.make_store(ManualClock(start=START))
        for _ in range(limit.max_cost):
            store.decide([Charge("key", limit)])
        store.close()
        _equal(asyncio.run(_once(store, limit))[0].allowed, False, "the async api after the sync one")
        _equal(store.decide([Charge("key", limit)])[0].allowed, False, "after close")
        store.close()


async def _ping(store: Store) -> None:
    await store.aping()
    await store.aclose()


async def _once(store: Store, limit: Limit) -> Sequence[Verdict]:
    verdicts = list(await store.adecide([Charge("key", limit)]))
    await store.aclose()
    return verdicts


def _run(chance: random.Random, clock: ManualClock, model: Model, store: API) -> None:
    """Run one random program on both and compare every decision."""
    for _ in range(40):
        charges = [
            Charge(key, limit, chance.randint(0, 3))
            for key, limit in chance.sample(
                [(key, limit) for key in KEYS[:3] for limit in LIMITS], chance.randint(1, 3)
            )
        ]
        match chance.choice(["wait", "decide", "decide", "decide", "refund", "reset"]):
            case "wait":
                clock.advance(chance.choice([0.000001, 0.03125, 0.25, 1.0, 7.5, 60.0, -0.5]))
            case "decide":
                _equal(store.decide(charges), model.decide(charges), f"the decision for {charges}")
            case "refund":
                charged_at = chance.choice([None, clock() // 1000 - chance.randint(0, 2_000_000)])
                store.refund(charges, charged_at)
                model.refund(charges, charged_at)
            case "reset":
                store.reset(charges)
                model.reset(charges)


def _equal(found: object, expected: object, what: str) -> None:
    if found != expected:
        raise AssertionError(f"{what}: expected {expected!r}, got {found!r}")


def _raises(error: type[Exception], work: Callable[[], object]) -> None:
    try:
        found = work()
    except error:
        return
    raise AssertionError(f"expected {error.__name__}, got {found!r}")
