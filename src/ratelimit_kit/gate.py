"""The one way to a store's decision: asks it, and answers by the outage policy when it cannot.

Limiter and Policy both pass through here, so that an outage means the same everywhere.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Literal, get_args

from ratelimit_kit.core.decision import MICROSECONDS, Decision, Verdict
from ratelimit_kit.core.event import Event
from ratelimit_kit.errors import OptionError, StoreContendedError, StoreError, nearest
from ratelimit_kit.guard import refuse_several_workers
from ratelimit_kit.observe import Observer
from ratelimit_kit.observe.logging import LoggingObserver
from ratelimit_kit.stores import Charge, Scope, Store, open_store

OnOutage = Literal["raise", "allow", "deny"]

RETRY = 1 * MICROSECONDS
"""The wait that a denial without a store can honestly ask for: by then an outage may be over."""


def outage_policy(word: str) -> OnOutage:
    """The word itself when it is an outage policy; OptionError when it is not."""
    if word not in get_args(OnOutage):
        raise OptionError(f"on_outage={word!r} is no outage policy; {nearest(str(word), get_args(OnOutage))}")
    return word  # type: ignore[return-value]


class Gate:
    """A store and what to answer when it fails."""

    def __init__(self, store: str | Store, observer: Observer | None = None) -> None:
        self.store = open_store(store)
        self.observer = observer or LoggingObserver()
        if hasattr(self.store, "on_event"):
            self.store.on_event = self.observer.on_event

    def refuse_several_workers(self, workers: int | None) -> None:
        """Raise UnsafeWorkersError when several workers would each count for themselves."""
        if self.store.scope is Scope.PROCESS:
            refuse_several_workers(getattr(self.store, "title", type(self.store).__name__), workers)

    def decide(self, charges: Sequence[Charge], on_outage: OnOutage) -> Decision:
        """Ask the store once; on failure follow `on_outage`."""
        try:
            return Decision(self.store.decide(charges))
        except StoreError as error:
            return self._without_store(charges, on_outage, error)

    async def adecide(self, charges: Sequence[Charge], on_outage: OnOutage) -> Decision:
        """Do what `decide` does."""
        try:
            return Decision(await self.store.adecide(charges))
        except StoreError as error:
            return self._without_store(charges, on_outage, error)

    def _without_store(self, charges: Sequence[Charge], on_outage: OnOutage, error: StoreError) -> Decision:
        """A contended store is alive, so `allow` does not open the gate for it: a flood would."""
        if on_outage == "raise":
            raise error
        allowed = on_outage == "allow" and not isinstance(error, StoreContendedError)
        word = "admitted without a count" if allowed else "refused"
        self.observer.on_event(
            Event(
                "store-outage",
                f"{error}. By on_outage={on_outage!r} requests are {word} meanwhile.",
                logging.ERROR,
                {"error": error.rlk, "allowed": allowed},
            )
        )
        wait = 0 if allowed else RETRY
        return Decision([Verdict(allowed, charge.limit, 0, wait, wait) for charge in charges], degraded=True)
