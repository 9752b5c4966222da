"""The one way to a store's decision: asks it, and answers by the outage policy when it cannot.

Limiter and Policy both pass through here, so that an outage means the same everywhere, and so does
a second process on a store that counts per process.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence

from ratelimit_kit.circuit_breaker import Breaker
from ratelimit_kit.core.decision import Decision, Verdict, decided
from ratelimit_kit.core.events import Event
from ratelimit_kit.core.limits import Limit
from ratelimit_kit.errors import OptionError, StoreContendedError, StoreError, StoreUnavailableError
from ratelimit_kit.guard import per_request_limiters as lifetime
from ratelimit_kit.guard.abort import TICK
from ratelimit_kit.guard.process_guard import OnUnsafe, Watch
from ratelimit_kit.guard.servers import detected
from ratelimit_kit.guard.workers import declared
from ratelimit_kit.local import LocalShare
from ratelimit_kit.observe import Observer, listening
from ratelimit_kit.outage import MEANWHILE, OnOutage, outage_policy, refused
from ratelimit_kit.stores import Charge, Lane, Scope, Store, asking, no_lane, open_store, short_ways
from ratelimit_kit.stores.denial_cache import Denials

__all__ = ["Gate", "OnOutage", "outage_policy"]

sleep = time.sleep
asleep = asyncio.sleep


class Gate:
    """A store, what to answer when it fails, and the watch over one that counts per process."""

    def __init__(
        self,
        store: str | Store | None,
        observer: Observer | Sequence[Observer] | None = None,
        *,
        workers: int | None = None,
        allow_per_process: bool = False,
        on_unsafe: OnUnsafe = "shutdown",
        serves: bool = False,
        deny_cache: bool = True,
    ) -> None:
        if not isinstance(deny_cache, bool):
            raise OptionError(f"deny_cache={deny_cache!r} is neither True nor False")
        self.store = open_store(store)
        self.observer = listening(observer)
        if hasattr(self.store, "on_event"):
            self.store.on_event = self.observer.on_event
        self.watch = Watch(
            getattr(self.store, "title", type(self.store).__name__),
            self.observer.on_event,
            per_process=self.store.scope is Scope.PROCESS,
            serves=serves,
            workers=workers,
            allow_per_process=allow_per_process,
            on_unsafe=on_unsafe,
            remedy=getattr(self.store, "remedy", ""),
        )
        self._short_ways = short_ways(self.store)
        self._quick = None if self._short_ways is None else self._short_ways.quick
        self._denials = Denials() if deny_cache and getattr(self.store, "denials_hold", False) else None
        self._decide = self.store.decide
        self._adecide = asking(self.store)
        self._workers = workers
        self._breaker = Breaker()
        self._local: LocalShare | None = None
        lost = lifetime.built(self.store) if self.watch.alert and not isinstance(store, Store) else None
        if lost is not None:
            raise lost

    @property
    def degraded(self) -> bool:
        """Whether the store has failed, and not answered since."""
        return self._breaker.error is not None

    @property
    def workers(self) -> int | None:
        """How many processes serve, as far as it is declared or shown."""
        found = declared(self._workers) or detected()
        return None if found is None else found.count

    def decide(self, charges: Sequence[Charge], on_outage: OnOutage) -> Decision:
        """Ask the store once; on failure follow `on_outage`."""
        if self.watch.alert and not self.watch.is_calm() and not self.admits():
            self.watch.turn_away()
            return refused(charges)
        if self._quick is not None and (decision := self._quick(charges)) is not None:
            return decision
        if self._denials is not None and (decision := self._denials.find(charges)) is not None:
            return decision
        if self._breaker.error is not None and not self._breaker.lets_through():
            return self._without_store(charges, on_outage, self._breaker.error)
        begun = time.monotonic()
        try:
            decision = decided(self._decide(charges))
        except StoreError as error:
            return self._failed(charges, on_outage, error)
        if self._breaker.error is not None:
            self._recovered()
        if not decision.allowed and self._denials is not None:
            self._denials.keep(charges, decision, begun)
        return decision

    async def adecide(self, charges: Sequence[Charge], on_outage: OnOutage) -> Decision:
        """Do what `decide` does."""
        if self.watch.alert and not self.watch.is_calm() and not await self.aadmits():
            self.watch.turn_away()
            return refused(charges)
        if self._quick is not None and (decision := self._quick(charges)) is not None:
            return decision
        if self._denials is not None and (decision := self._denials.find(charges)) is not None:
            return decision
        if self._breaker.error is not None and not self._breaker.lets_through():
            return self._without_store(charges, on_outage, self._breaker.error)
        begun = time.monotonic()
        try:
            decision = decided(await self._adecide(charges))
        except StoreError as error:
            return self._failed(charges, on_outage, error)
        if self._breaker.error is not None:
            self._recovered()
        if not decision.allowed and self._denials is not None:
            self._denials.keep(charges, decision, begun)
        return decision

    def lane(self, space: str, limits: Sequence[Limit]) -> Lane:
        """The store's short way for single hits, where it has one and there is one limit."""
        if self._short_ways is None or len(limits) > 1 or self.observer.counting:
            return no_lane
        return self._short_ways.lane(space, limits[0])

    def refund(self, charges: Sequence[Charge], decision: Decision) -> None:
        """Give back what `decision` has charged, hit by hit; what cannot be given back stays counted, and is said."""
        if decision.degraded:
            return  # nothing was charged in the store
        try:
            for stamp, some in _by_stamp(charges, decision):
                self.store.refund(some, stamp)
        except StoreError as error:
            self._not_given_back(error)

    async def arefund(self, charges: Sequence[Charge], decision: Decision) -> None:
        """Do what `refund` does."""
        if decision.degraded:
            return  # nothing was charged in the store
        try:
            for stamp, some in _by_stamp(charges, decision):
                await self.store.arefund(some, stamp)
        except StoreError as error:
            self._not_given_back(error)

    def admits(self) -> bool:
        """Whether this process may use its store; waits while a sibling seems about to end."""
        while True:
            answer = self.watch.admits()
            if answer is not None:
                return answer
            sleep(TICK)

    async def aadmits(self) -> bool:
        """Do what `admits` does."""
        while True:
            answer = self.watch.admits()
            if answer is not None:
                return answer
            await asleep(TICK)

    def measure(self) -> float | StoreError:
        """Seconds until the store answered, or how it failed; looks for siblings too."""
        if self.watch.alert:
            self.watch.look()
        begun = time.perf_counter()
        try:
            self.store.ping()
        except StoreError as error:
            return error
        return time.perf_counter() - begun

    async def ameasure(self) -> float | StoreError:
        """Do what `measure` does."""
        if self.watch.alert:
            self.watch.look()
        begun = time.perf_counter()
        try:
            await self.store.aping()
        except StoreError as error:
            return error
        return time.perf_counter() - begun

    def _failed(self, charges: Sequence[Charge], on_outage: OnOutage, error: StoreError) -> Decision:
        """Answer without the store, and say so where an outage begins. A contended store is alive, and is asked again."""
        if isinstance(error, StoreUnavailableError):
            if self._breaker.failed(error):
                self._tell(
                    "store-outage", f"{error}. By on_outage={on_outage!r} {MEANWHILE[on_outage]} meanwhile", error
                )
        elif on_outage != "raise":
            self._tell("store-contended", f"{error}. {MEANWHILE['deny' if on_outage == 'allow' else on_outage]}", error)
        if on_outage == "raise":
            raise error
        return self._without_store(charges, on_outage, error)

    def _without_store(self, charges: Sequence[Charge], on_outage: OnOutage, error: StoreError) -> Decision:
        """A contended store does not open the gate: a flood would."""
        if on_outage == "raise":
            raise StoreUnavailableError(str(error))
        if on_outage == "local":
            if self._local is None:
                self._local = LocalShare(self._workers)
            return self._local.decide(charges)
        if on_outage == "deny" or isinstance(error, StoreContendedError):
            return refused(charges)
        return Decision([Verdict(True, charge.limit, 0, 0, 0) for charge in charges], degraded=True)

    def _recovered(self) -> None:
        seconds = self._breaker.succeeded()
        if seconds is not None:
            message = f"{self.store!r} answers again, after {seconds:.1f} s: limits hold again"
            self.observer.on_event(Event("store-recovered", message, logging.WARNING, {"seconds": seconds}))

    def _not_given_back(self, error: StoreError) -> None:
        self._tell("refund-failed", f"{error}. The hit stays counted, although its response does not count", error)

    def _tell(self, name: str, message: str, error: StoreError) -> None:
        self.observer.on_event(Event(name, message, logging.ERROR, {"error": error.rlk}))


def _by_stamp(charges: Sequence[Charge], decision: Decision) -> list[tuple[int | None, list[Charge]]]:
    """The charges by the time of their hit; a memory store has one clock for calendar windows and one for spans."""
    groups: dict[int | None, list[Charge]] = {}
    for charge, verdict in zip(charges, decision.verdicts, strict=True):
        if charge.cost:
            groups.setdefault(verdict.stamp or None, []).append(charge)
    return list(groups.items())
