"""A store with its process guard, circuit breaker, denial cache and outage policy; all decisions go through it.

Limiter and Policy both use it, so that an outage, or a second process on a store that counts per process,
has the same effect everywhere.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

from ratelimit_kit.census import Census
from ratelimit_kit.core.decision import Decision, as_decision
from ratelimit_kit.core.fork import catch_up
from ratelimit_kit.core.token_bucket import TokenBucket
from ratelimit_kit.core.validation import check_switch
from ratelimit_kit.errors import StartupRefused, StoreError
from ratelimit_kit.guard.checks import per_request_limiters
from ratelimit_kit.guard.declarations import NOTHING_SAID, Processes
from ratelimit_kit.guard.process_guard import ProcessGuard, search
from ratelimit_kit.guard.workers.count import declared
from ratelimit_kit.observe import Observer, listening
from ratelimit_kit.outage import LocalCounters, Meanwhile, Outages, refused
from ratelimit_kit.stores import Charge, Scope, Store, open_store, with_defaults
from ratelimit_kit.stores.denial_cache import DenialCache, Indexes
from ratelimit_kit.waiting import asleep, sleep

TRIAL: Final = Charge("ratelimit-kit:health", TokenBucket(1_000_000, per=1))
"""What a health check charges during an outage; the counter is gone a moment later."""


class GuardedStore:
    """A store with all that surrounds it, for a limiter or a `policy`; `backend` is the store with BaseStore's defaults."""

    def __init__(
        self,
        store: str | Store | None,
        observer: Observer | Sequence[Observer] | None = None,
        processes: Processes = NOTHING_SAID,
        *,
        policy: str | None = None,
        deny_cache: bool = True,
    ) -> None:
        self.store = open_store(store)
        self.backend = with_defaults(self.store)
        self.observer = listening(observer)
        self.backend.on_event = self.observer.on_event
        word = declared(processes.workers)
        census = Census(self.backend, policy or "", self.observer.on_event, None if word is None else word.count)
        self.guard = ProcessGuard(
            self.backend.title,
            self.observer.on_event,
            processes,
            per_process=self.store.scope is Scope.PROCESS,
            per_host=self.store.scope is Scope.HOST,
            serves=policy is not None,
            when_serving=census.begin if policy else None,
            remedy=self.backend.remedy,
        )
        self._fast = self.backend.fast_decide()
        caches = check_switch("deny_cache", deny_cache) and self.backend.denials_cacheable
        self._denials = DenialCache() if caches else None
        self.outages = Outages(repr(self.store), self.observer.on_event, processes.workers, census)
        self._breaker = self.outages.breaker
        self.local = self.outages.local
        self._has_own_counters = self.store.scope is Scope.PROCESS and (store is None or isinstance(store, str))

    def check_lifetime(self) -> None:
        """Raise LostCountersError if a store with its own counters is made in each request; for a valid owner only."""
        if self._has_own_counters and (lost := per_request_limiters.built(self.store)):
            raise lost

    @property
    def degraded(self) -> bool:
        """Whether the store has failed and not replied since."""
        return self._breaker.error is not None

    def decide(self, charges: Sequence[Charge], meanwhile: Meanwhile, provisional: Indexes = ()) -> Decision:
        """Decide with at most one call of the store, else by `meanwhile`; `provisional` charges are often given back."""
        if self.guard.alert and not self.admits():
            self.guard.turn_away()
            return refused(charges)
        if self._fast is not None and (decision := self._fast(charges)) is not None:
            return decision
        if self._denials is not None and (decision := self._denials.find(charges)) is not None:
            return decision
        if (failure := self._breaker.error) is not None and not self._breaker.lets_through():
            return self.outages.decide(charges, meanwhile, failure)
        begun = time.monotonic()
        try:
            reply = self.store.decide(charges)
        except StoreError as error:
            return self.outages.failed(charges, meanwhile, error, begun)
        decision = reply if isinstance(reply, Decision) else as_decision(reply, charges)
        if self._breaker.error is not None:
            self.outages.ended()
        if decision.allowed and self.outages.beside_until and not provisional:
            beside = self.outages.counted_beside(charges, meanwhile, decision)
            if not beside.allowed:
                self.refund(charges, decision)
            return beside
        if not decision.allowed and self._denials is not None:
            self._denials.keep(charges, decision, begun, provisional)
        return decision

    async def adecide(self, charges: Sequence[Charge], meanwhile: Meanwhile, provisional: Indexes = ()) -> Decision:
        """Do what `decide` does."""
        if self.guard.alert and not await self.aadmits():
            self.guard.turn_away()
            return refused(charges)
        if self._fast is not None and (decision := self._fast(charges)) is not None:
            return decision
        if self._denials is not None and (decision := self._denials.find(charges)) is not None:
            return decision
        if (failure := self._breaker.error) is not None and not self._breaker.lets_through():
            return self.outages.decide(charges, meanwhile, failure)
        begun = time.monotonic()
        try:
            reply = await self.store.adecide(charges)
        except StoreError as error:
            return self.outages.failed(charges, meanwhile, error, begun)
        decision = reply if isinstance(reply, Decision) else as_decision(reply, charges)
        if self._breaker.error is not None:
            self.outages.ended()
        if decision.allowed and self.outages.beside_until and not provisional:
            beside = self.outages.counted_beside(charges, meanwhile, decision)
            if not beside.allowed:
                await self.arefund(charges, decision)
            return beside
        if not decision.allowed and self._denials is not None:
            self._denials.keep(charges, decision, begun, provisional)
        return decision

    def refund(self, charges: Sequence[Charge], decision: Decision) -> None:
        """Refund what `decision` has charged; on a failure the hit stays counted, and the failure is logged."""
        try:
            for charged_at, some in owed(charges, decision, self.local):
                self.store.refund(some, charged_at)
        except StoreError as error:
            self.outages.not_given_back(error)

    async def arefund(self, charges: Sequence[Charge], decision: Decision) -> None:
        """Do what `refund` does."""
        try:
            for charged_at, some in owed(charges, decision, self.local):
                await self.store.arefund(some, charged_at)
        except StoreError as error:
            self.outages.not_given_back(error)

    def admits(self) -> bool:
        """Whether this process may use its store; waits while a sibling seems about to exit."""
        catch_up()
        while True:
            answer = self.guard.admits()
            if answer is not None:
                return answer
            sleep(search.pause)

    async def aadmits(self) -> bool:
        """Do what `admits` does."""
        catch_up()
        while True:
            answer = self.guard.admits()
            if answer is not None:
                return answer
            await asleep(search.pause)

    async def abegin(self) -> StartupRefused | None:
        """The error for a server that asks whether this process can start, if a sibling is already serving."""
        if self.guard.alert:
            await self.aadmits()
        return self.guard.begin()

    def measure(self) -> float | StoreError:
        """Ping the store: the seconds until its reply, or its error; also looks for siblings, and who else serves."""
        self.guard.recheck()
        begun = time.perf_counter()
        try:
            self.store.ping()
            if self.degraded:  # only a decision shows that it decides again
                self.store.decide([TRIAL])
                self.outages.ended()
        except StoreError as error:
            return error
        taken = time.perf_counter() - begun
        self.local.census.look()
        return taken

    async def ameasure(self) -> float | StoreError:
        """Do what `measure` does."""
        self.guard.recheck()
        begun = time.perf_counter()
        try:
            await self.store.aping()
            if self.degraded:  # only a decision shows that it decides again
                await self.store.adecide([TRIAL])
                self.outages.ended()
        except StoreError as error:
            return error
        taken = time.perf_counter() - begun
        await self.local.census.alook()
        return taken


def owed(
    charges: Sequence[Charge], decision: Decision | None, local: LocalCounters
) -> Sequence[tuple[int | None, Sequence[Charge]]]:
    """What to refund in the store, by the time of the hit, of which None are the oldest; local counters are refunded here.

    The times differ because a memory store has different clocks for calendar windows and the rest.
    """
    if decision is None:
        return [(None, charges)]
    local.undo(charges, decision)
    if decision.degraded or not decision.allowed:
        return []
    groups: dict[int | None, list[Charge]] = {}
    for charge, verdict in zip(charges, decision.verdicts, strict=True):
        if charge.cost:
            groups.setdefault(verdict.charged_at or None, []).append(charge)
    return list(groups.items())
