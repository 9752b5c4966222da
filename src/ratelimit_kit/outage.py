"""Decisions while a store fails, by the policy that the user chooses: raise, allow, deny or local."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal, get_args

from ratelimit_kit.circuit_breaker import CircuitBreaker
from ratelimit_kit.core.decision import Decision, Verdict
from ratelimit_kit.core.durations import MICROSECONDS
from ratelimit_kit.core.events import Event, Listener
from ratelimit_kit.core.fixed_window import FixedWindow
from ratelimit_kit.core.limit import Limit
from ratelimit_kit.core.sliding_window import SlidingWindow
from ratelimit_kit.core.token_bucket import TokenBucket
from ratelimit_kit.core.validation import nearest
from ratelimit_kit.errors import OptionError, QuotaError, StoreContendedError, StoreError, StoreUnavailableError
from ratelimit_kit.guard.worker_count import declared
from ratelimit_kit.guard.worker_detection import detected
from ratelimit_kit.stores import Charge
from ratelimit_kit.stores.memory.store import MemoryStore

OnOutage = Literal["raise", "allow", "deny", "local"]

RETRY = 1 * MICROSECONDS
"""The wait (microseconds) of a denial without a store: by then the outage may be over."""


def outage_policy(word: str) -> OnOutage:
    """The word itself if it is an outage policy; else raises OptionError."""
    if word not in get_args(OnOutage):
        raise OptionError(f"on_outage={word!r} is not an outage policy; {nearest(str(word), get_args(OnOutage))}")
    return word  # type: ignore[return-value]


_MEANWHILE: dict[OnOutage, str] = {
    "raise": "callers get this error",
    "allow": "requests are admitted without a count",
    "deny": "requests are refused",
    "local": "each process applies its share of the limits",
}
"""What happens during an outage, by policy."""


def refused(charges: Sequence[Charge]) -> Decision:
    """A denial of all charges, made without the store."""
    return Decision([Verdict(False, charge.limit, 0, RETRY, RETRY) for charge in charges], degraded=True)


class Outages:
    """The outages of the store `name`: whether one is in progress (`breaker`), and the decisions meanwhile."""

    def __init__(self, name: str, on_event: Listener, workers: int | None) -> None:
        self._name = name
        self._on_event = on_event
        self.breaker = CircuitBreaker()
        self.share = LocalShare(workers)

    def failed(self, charges: Sequence[Charge], on_outage: OnOutage, error: StoreError) -> Decision:
        """Decide without the store, and log the start of an outage; a contended store is alive and is called again."""
        if isinstance(error, StoreUnavailableError):
            if self.breaker.failed(error):
                self.tell(
                    "store-outage", f"{error}. By on_outage={on_outage!r} {_MEANWHILE[on_outage]} meanwhile", error
                )
        elif on_outage != "raise":
            self.tell("store-contended", f"{error}. {_MEANWHILE['deny' if on_outage == 'allow' else on_outage]}", error)
        if on_outage == "raise":
            raise error
        return self.decide(charges, on_outage, error)

    def decide(self, charges: Sequence[Charge], on_outage: OnOutage, error: StoreError) -> Decision:
        """Decide without the store; a contended one never fails open, else a flood could switch off limits."""
        if on_outage == "raise":
            raise StoreUnavailableError(str(error))
        if on_outage == "local":
            return self.share.decide(charges)
        if on_outage == "deny" or isinstance(error, StoreContendedError):
            return refused(charges)
        return Decision([Verdict(True, charge.limit, 0, 0, 0) for charge in charges], degraded=True)

    def ended(self) -> None:
        """Record a reply, and log if it ends an outage."""
        seconds = self.breaker.succeeded()
        if seconds is not None:
            message = f"{self._name} answers again, after {seconds:.1f} s: limits hold again"
            self._on_event(Event("store-recovered", message, logging.WARNING, {"seconds": seconds}))

    def tell(self, name: str, message: str, error: StoreError) -> None:
        """Report a failure to the observers."""
        self._on_event(Event(name, message, logging.ERROR, {"error": error.rlk}))


class LocalShare:
    """Limits divided by the number of workers, counted in this process from the first outage on.

    The number is the declared one, else the detected one, else 1. A limit below that number becomes 1, so
    all workers together then admit more than the limit.
    """

    def __init__(self, workers: int | None) -> None:
        self.declared = workers
        self._begun: tuple[int, MemoryStore] | None = None

    def decide(self, charges: Sequence[Charge]) -> Decision:
        """Decide by this process's shares; a cost above a share uses up all of it."""
        workers, store = self._begun = self._begun or self._begin()
        shares = [share(charge.limit, workers).counted_in(charge.limit.counter) for charge in charges]
        asked = [
            Charge(charge.key, limit, min(charge.cost, limit.max_cost) if limit.max_cost else charge.cost)
            for charge, limit in zip(charges, shares, strict=True)
        ]
        verdicts = store.decide(asked)
        return Decision(
            [
                Verdict(verdict.allowed, charge.limit, verdict.remaining, verdict.wait, verdict.reset)
                for charge, verdict in zip(charges, verdicts, strict=True)
            ],
            degraded=True,
        )

    def _begin(self) -> tuple[int, MemoryStore]:
        """The current number of workers, and a new store in which this one counts."""
        found = declared(self.declared) or detected()
        return 1 if found is None else found.count, MemoryStore()


@lru_cache(maxsize=1024)
def share(limit: Limit, workers: int) -> Limit:
    """The part of a limit that one of several workers may admit."""

    def part(number: int) -> int:
        return max(1, number // workers)

    if not limit.limit:
        return limit
    if isinstance(limit, TokenBucket):
        return _bucket(part(limit.limit), part(limit.burst), limit.window)
    if isinstance(limit, SlidingWindow):
        return SlidingWindow(part(limit.limit), f"{limit.window} us", resolution=limit.resolution)
    assert isinstance(limit, FixedWindow)
    return FixedWindow(part(limit.limit), limit.per, tz=limit.tz, anchor=limit.anchor)


def _bucket(limit: int, burst: int, window: int) -> TokenBucket:
    """A token bucket of about that size, in numbers that are round enough to be exact."""
    for digits in range(len(str(limit))):
        try:
            return TokenBucket(max(1, limit - limit % 10**digits), f"{window} us", burst=burst)
        except QuotaError:
            continue
    return TokenBucket(1, f"{window} us", burst=1)
