"""The suite that every store must pass, whether from this library or elsewhere.

    class TestMyStore(StoreConformance):
        def make_store(self, clock):
            return MyStore(clock=clock)

pytest collects the class and runs each test for every algorithm, with the sync API and the async API.
"""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from ratelimit_kit.core.decision import Verdict
from ratelimit_kit.core.durations import MICROSECONDS
from ratelimit_kit.core.limit import Limit
from ratelimit_kit.core.sliding_window import SlidingWindow
from ratelimit_kit.errors import CostError, OptionError
from ratelimit_kit.stores import Charge, Scope, Store, with_defaults
from ratelimit_kit.testing.clock import ManualClock
from ratelimit_kit.testing.counter_conformance import CHANGED, KEYS, LIMITS, START, CounterConformance, equal, raises
from ratelimit_kit.testing.model import Model
from ratelimit_kit.testing.sync_async import API

CLIENTS = 100
"""Threads, or tasks, that use the same counter concurrently."""


class StoreConformance(CounterConformance):
    """Tests of a store; a subclass implements `make_store`.

    `make_store(clock)` returns an empty store that uses `clock` (nanoseconds). `rounds` is how often concurrency tests
    are repeated with the first limit (a fifth with others), `programs` how many random programs are run.
    """

    rounds = 3
    programs = 20

    def _rounds(self, limit: Limit) -> int:
        return self.rounds if limit == LIMITS[0] else -(-self.rounds // 5)

    def test_it_is_a_store_that_answers(self) -> None:
        """It has every method and a scope, and replies to a ping."""
        store = self.make_store(ManualClock(start=START))
        equal(isinstance(store, Store), True, "isinstance(store, Store)")
        equal(isinstance(store.scope, Scope), True, "isinstance(store.scope, Scope)")
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
            equal(admitted, [True] * limit.max_cost + [False] * 2, "admissions")
            equal(store.decide([Charge("key", limit)])[0].retry_after > 0, True, "retry_after > 0")

    def test_a_denial_changes_nothing(self, limit: Limit, api: type[API]) -> None:
        """After any number of denials the same hit is admitted at the same moment."""
        with self._open(api) as (_, store):
            store.decide([Charge("key", limit, limit.max_cost)])
            first = store.decide([Charge("key", limit, 1)])
            for _ in range(3):
                equal(store.decide([Charge("key", limit, 1)]), first, "verdicts of a repeated denial")

    def test_the_announced_wait_is_exact(self, limit: Limit, api: type[API]) -> None:
        """A hit is denied one microsecond before the announced time, and admitted at it."""
        with self._open(api) as (clock, store):
            store.decide([Charge("key", limit, limit.max_cost)])
            wait = store.decide([Charge("key", limit, 1)])[0].wait
            clock.advance((wait - 1) / MICROSECONDS)
            equal(store.decide([Charge("key", limit, 1)])[0].allowed, False, "a microsecond before")
            clock.advance(1 / MICROSECONDS)
            equal(store.decide([Charge("key", limit, 1)])[0].allowed, True, "at the announced moment")

    def test_counters_of_any_name_are_apart(self, limit: Limit, api: type[API]) -> None:
        """A limit that is counted as something else, whatever its name, has a counter of its own."""
        names = ["plain", "two words", "caf\u00e9", "a\r\nb", "{x}", "%d %s", "#", "n" * 300, "n" * 301]
        with self._open(api) as (_, store):
            for name in names:
                named = limit.counted_as(name)
                equal(store.decide([Charge("key", named, limit.max_cost)])[0].allowed, True, f"a first hit of {name!r}")
                equal(store.decide([Charge("key", named)])[0].allowed, False, f"one beyond the limit of {name!r}")

    def test_charges_are_admitted_together_or_not_at_all(self, limit: Limit, api: type[API]) -> None:
        """One denied charge leaves every other counter unchanged."""
        other = SlidingWindow(1, per=3600)
        both = [Charge("one", limit, 1), Charge("two", other, 1)]
        with self._open(api) as (_, store):
            equal([verdict.allowed for verdict in store.decide(both)], [True, True], "the first time")
            before = store.decide([Charge("one", limit, 0)])
            for _ in range(3):
                equal([verdict.allowed for verdict in store.decide(both)], [True, False], "the second time")
            equal(store.decide([Charge("one", limit, 0)]), before, "the counter that was not refused")

    def test_a_cost_of_zero_writes_nothing(self, limit: Limit, api: type[API]) -> None:
        """A peek changes nothing."""
        with self._open(api) as (_, store):
            for _ in range(limit.max_cost + 1):
                equal(store.decide([Charge("key", limit, 0)])[0].remaining, limit.max_cost, "remaining after a peek")

    def test_what_cannot_be_is_an_error(self, limit: Limit, api: type[API]) -> None:
        """A cost that can never be admitted and a counter named twice raise errors."""
        with self._open(api) as (_, store):
            raises(CostError, lambda: store.decide([Charge("key", limit, limit.max_cost + 1)]))
            raises(CostError, lambda: store.decide([Charge("key", limit, -1)]))
            raises(OptionError, lambda: store.decide([Charge("key", limit), Charge("key", limit)]))
            equal(store.decide([]), [], "no charges")
            store.refund([])
            store.reset([])

    def test_threads_admit_exactly_the_limit(self, limit: Limit) -> None:
        """A hundred concurrent threads get exactly the limit, whatever the interleaving."""
        for _ in range(self._rounds(limit)):
            store = self.make_store(ManualClock(start=START))
            barrier = threading.Barrier(CLIENTS)

            def hit(_: int, store: Store = store, barrier: threading.Barrier = barrier) -> bool:
                barrier.wait()
                return store.decide([Charge("key", limit)])[0].allowed

            with ThreadPoolExecutor(CLIENTS) as pool:
                equal(sum(pool.map(hit, range(CLIENTS))), min(CLIENTS, limit.max_cost), "admissions")
            store.close()

    def test_tasks_admit_exactly_the_limit(self, limit: Limit) -> None:
        """A hundred concurrent tasks get exactly the limit, on every event loop."""
        for _ in range(self._rounds(limit)):
            store = self.make_store(ManualClock(start=START))

            async def hits(store: Store = store) -> int:
                answers = await asyncio.gather(*[store.adecide([Charge("key", limit)]) for _ in range(CLIENTS)])
                await store.aclose()
                return sum(answer[0].allowed for answer in answers)

            equal(asyncio.run(hits()), min(CLIENTS, limit.max_cost), "admissions")
            store.close()

    def test_both_apis_count_together(self, limit: Limit) -> None:
        """What one API admits is used up for the other; a closed store reopens."""
        store = self.make_store(ManualClock(start=START))
        for _ in range(limit.max_cost):
            store.decide([Charge("key", limit)])
        store.close()
        equal(asyncio.run(_once(store, limit))[0].allowed, False, "the async api after the sync one")
        equal(store.decide([Charge("key", limit)])[0].allowed, False, "after close")
        store.close()


async def _ping(store: Store) -> None:
    await store.aping()
    await store.aclose()


async def _once(store: Store, limit: Limit) -> Sequence[Verdict]:
    verdicts = list(await store.adecide([Charge("key", limit)]))
    await store.aclose()
    return verdicts


def _run(chance: random.Random, clock: ManualClock, model: Model, store: API) -> None:
    """Run one random program on both and compare every decision.

    Numbers change, but not where a denial may charge and refund: a refund leaves what its own number has let refill.
    """
    limits = LIMITS if with_defaults(store.store).clustered else LIMITS + CHANGED
    for _ in range(40):
        chosen = chance.sample([(key, limit) for key in KEYS[:3] for limit in limits], chance.randint(1, 3))
        apart = {(key, limit.counter): (key, limit) for key, limit in chosen}.values()
        charges = [Charge(key, limit, min(chance.randint(0, 3), limit.max_cost or 3)) for key, limit in apart]
        match chance.choice(["wait", "decide", "decide", "decide", "refund", "reset"]):
            case "wait":
                clock.advance(chance.choice([0.000001, 0.03125, 0.25, 1.0, 7.5, 60.0, -0.5]))
            case "decide":
                equal(store.decide(charges), model.decide(charges), f"the decision for {charges}")
            case "refund":
                charged_at = chance.choice([None, clock() // 1000 - chance.randint(0, 2_000_000)])
                store.refund(charges, charged_at)
                model.refund(charges, charged_at)
            case "reset":
                store.reset(charges)
                model.reset(charges)
