"""The outages of one store: when they begin and end, and what decides meanwhile."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

from ratelimit_kit.census import Census
from ratelimit_kit.core.decision import Decision, Verdict
from ratelimit_kit.core.durations import MICROSECONDS
from ratelimit_kit.core.events import Event, Listener
from ratelimit_kit.errors import StoreContendedError, StoreError, StoreFullError, StoreUnavailableError
from ratelimit_kit.outage.breaker import CircuitBreaker
from ratelimit_kit.outage.local import LocalCounters, counted_beside
from ratelimit_kit.outage.outcomes import Outcomes
from ratelimit_kit.outage.policy import LOCAL, Meanwhile
from ratelimit_kit.stores import Charge

RETRY = 1 * MICROSECONDS
"""The wait (microseconds) of a denial without a store: by then the outage may be over."""


BESIDE_SECONDS = 10.0
"""For how long after a store has refused a call what it admits is counted here too."""

MAX_CAUSES = 8
"""Different causes that are told of one outage: a broken server may say something else each time."""


def refused(charges: Sequence[Charge]) -> Decision:
    """A denial of all charges, made without the store."""
    return Decision([Verdict(False, charge.limit, 0, RETRY, RETRY) for charge in charges], degraded=True)


class Outages:
    """The outages of the store `name`: whether one is in progress (`breaker`), and the decisions meanwhile.

    Only StoreUnavailableError is an outage. A store that gives another error is alive: it is called again, and never
    makes a limit fail open, else a flood could switch off limits. `outcomes` are those of the rules in force, in a policy.
    """

    def __init__(self, name: str, on_event: Listener, workers: int | None, census: Census) -> None:
        self._name = name
        self._on_event = on_event
        self.breaker = CircuitBreaker()
        self.local = LocalCounters(workers, census)
        self.beside_until = 0.0
        self.outcomes: Outcomes | None = None
        self._refusal: tuple[float, StoreError] | None = None
        self._causes: set[str] = set()

    @property
    def refusal(self) -> StoreError | None:
        """What the store, which is alive, has lately refused to do for lack of room or for one key; None if nothing.

        That it was too busy for a moment is no state of the store.
        """
        until, error = self._refusal or (0.0, None)
        return error if time.monotonic() < until else None

    def failed(self, charges: Sequence[Charge], meanwhile: Meanwhile, error: StoreError, begun: float) -> Decision:
        """Decide after a call that began at `begun` (monotonic seconds) has failed, and log the start of an outage."""
        if isinstance(error, StoreUnavailableError):
            if self._is_news(error, begun):
                self.tell("store-outage", f"{error}. Meanwhile, {self.outcomes or Outcomes(meanwhile)}", error)
        else:
            self._answered(error)
            if meanwhile.on_outage != "raise":
                outcomes = (self.outcomes or Outcomes(meanwhile)).while_alive()
                self.tell(_event_of(error), f"{error}. Meanwhile, {outcomes}", error)
        if meanwhile.on_outage == "raise":
            raise error
        return self.decide(charges, meanwhile, error)

    def decide(self, charges: Sequence[Charge], meanwhile: Meanwhile, error: StoreError) -> Decision:
        """Decide without the store, whose last failure was `error`."""
        alive = not isinstance(error, StoreUnavailableError)
        if meanwhile.on_outage == "raise":
            raise (StoreContendedError if alive else StoreUnavailableError)(str(error))
        if meanwhile.is_local:
            return self.local.decide(charges, meanwhile)
        if meanwhile.on_outage == "deny" or alive:
            return refused(charges)
        return Decision([Verdict(True, charge.limit, 0, 0, 0) for charge in charges], degraded=True)

    def counted_beside(self, charges: Sequence[Charge], meanwhile: Meanwhile, decision: Decision) -> Decision:
        """The decision for what the store has admitted, if lately it refused other calls, which local counters decided.

        A full store may have room again for a moment, and then not: counted apart, its limit would be given twice. So both
        must admit. Nobody who keeps within the limit is refused, because local counters never hold more than was admitted.
        """
        if time.monotonic() >= self.beside_until:
            self.beside_until = 0.0
            return decision
        if not meanwhile.is_local or not self.local.has_room:
            return decision
        local = self.local.decide(charges, LOCAL)
        return counted_beside(decision, local) if local.allowed else local

    def ended(self) -> None:
        """Record a reply, and log if it ends an outage."""
        seconds = self.breaker.succeeded()
        if seconds is not None:
            message = f"{self._name} answers again, after {seconds:.1f} s: limits hold again"
            self._on_event(Event("store-recovered", message, logging.WARNING, {"seconds": seconds}))

    def missing_at_start(self, error: StoreError) -> bool:
        """Record that the store did not decide at the start, which goes on without it; return whether that is news.

        The outage itself is told when decisions first meet it.
        """
        if not isinstance(error, StoreUnavailableError):
            return True
        begins = self.breaker.failed(error, time.monotonic())
        if begins:
            self._causes.clear()
        return begins

    def not_given_back(self, error: StoreError) -> None:
        """Report a failed refund."""
        self.tell("refund-failed", f"{error}. The hit stays counted, although its response does not count", error)

    def tell(self, name: str, message: str, error: StoreError) -> None:
        """Report a failure to the observers."""
        self._on_event(Event(name, message, logging.ERROR, {"error": error.rlk}))

    def _is_news(self, error: StoreUnavailableError, begun: float) -> bool:
        """Whether this failure of a call that began at `begun` begins an outage, or gives one another cause."""
        if self.breaker.failed(error, begun):
            self._causes.clear()
        elif self.breaker.error is not error or str(error) in self._causes or len(self._causes) >= MAX_CAUSES:
            return False
        self._causes.add(str(error))
        return True

    def _answered(self, error: StoreError) -> None:
        """An error about one call is a reply; a store too busy for any keeps an outage going that has begun."""
        self.beside_until = time.monotonic() + BESIDE_SECONDS
        if not isinstance(error, StoreContendedError):
            self._refusal = self.beside_until, error
        if self.breaker.error is None:
            return
        if isinstance(error, StoreContendedError):
            self.breaker.contended(error)
        else:
            self.ended()


def _event_of(error: StoreError) -> str:
    if isinstance(error, StoreContendedError):
        return "store-contended"
    return "store-full" if isinstance(error, StoreFullError) else "store-refused"
