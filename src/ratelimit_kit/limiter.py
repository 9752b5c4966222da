"""The Limiter: one or several limits on a store, applied per key.

Every method is followed by its async twin, which differs only in `async`, `await` and the `a` in
front of names (a test compares them). Both count on the same counters.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from ratelimit_kit.core.decision import Decision, Verdict
from ratelimit_kit.core.events import Decided
from ratelimit_kit.core.grammar import read_limits
from ratelimit_kit.core.limit import Limit
from ratelimit_kit.core.validation import known_options
from ratelimit_kit.errors import OptionError
from ratelimit_kit.guard.process_guard import OnUnsafe
from ratelimit_kit.guarded_store import GuardedStore
from ratelimit_kit.observe import Observer
from ratelimit_kit.outage import OnOutage, outage_policy
from ratelimit_kit.stores import Charge, Store
from ratelimit_kit.stores.keys import MAX_TEXT_LENGTH, scoped, shortened

_new = tuple.__new__
"""Makes a Charge without a Python-level call."""

sleep = time.sleep
asleep = asyncio.sleep


class Limiter:
    """Admits a hit on a key only if every limit does; a denied hit changes nothing.

    `store` is a store or a URL (default: RATELIMIT_KIT_STORE, else memory); `name` is the namespace of the
    keys: limiters with the same name, limits and store share counters. `on_outage` says what to do when the
    store fails: "raise" (StoreError), "allow", "deny" or "local" (a decision with `degraded` set; "local"
    counts this process's share of the limits in memory).

    A per-process store under several worker processes is refused with UnsafeWorkersError. `workers`
    declares their number if the server does not show it; `allow_per_process=True` accepts that each
    counts separately; `on_unsafe` says what a process does if it finds a sibling while serving:
    "shutdown", "deny" (both refuse everything, with `degraded` set) or "warn".

    A denial by a shared store is repeated from memory until its `retry_after` (with `cached` set), for at most
    ten seconds; a reset or refund by this process ends that. `deny_cache=False` asks the store each time.
    """

    @known_options
    def __init__(
        self,
        *limits: str | Limit,
        store: str | Store | None = None,
        name: str = "default",
        on_outage: OnOutage = "raise",
        workers: int | None = None,
        allow_per_process: bool = False,
        on_unsafe: OnUnsafe = "shutdown",
        observer: Observer | Sequence[Observer] | None = None,
        deny_cache: bool = True,
    ) -> None:
        self.limits = read_limits(limits)
        self._only = self.limits[0] if len(self.limits) == 1 else None
        self.name = name
        self._namespace = scoped(name, "")
        self.on_outage = outage_policy(on_outage)
        self._store = GuardedStore(
            store,
            observer,
            workers=workers,
            allow_per_process=allow_per_process,
            on_unsafe=on_unsafe,
            deny_cache=deny_cache,
        )
        self._store.check_lifetime()
        self._guard = self._store.guard
        self._guard.start()
        self._fast = self._store.fast_path(self._namespace.removesuffix(":"), self.limits)

    def __repr__(self) -> str:
        limits = "; ".join(str(limit) for limit in self.limits)
        return f"Limiter({limits!r}, store={self.store!r}, name={self.name!r})"

    @property
    def store(self) -> Store:
        """The store in which this limiter counts."""
        return self._store.store

    def hit(self, key: str, cost: int = 1) -> Decision:
        """Charge `cost` units to `key` if all limits admit it.

        Raises CostError for a cost that can never be admitted, and StoreError depending on `on_outage`.
        """
        if self._fast is None or self._guard.alert or (decision := self._fast(key, cost)) is None:
            if self._store.observer.counting:
                return self._tell(self._charges(key, cost))
            return self._store.decide(self._charges(key, cost), self.on_outage)
        return decision

    async def ahit(self, key: str, cost: int = 1) -> Decision:
        """Do what `hit` does."""
        if self._fast is None or self._guard.alert or (decision := self._fast(key, cost)) is None:
            if self._store.observer.counting:
                return await self._atell(self._charges(key, cost))
            return await self._store.adecide(self._charges(key, cost), self.on_outage)
        return decision

    def peek(self, key: str) -> Decision:
        """The decision that a hit of cost 1 would get now; charges nothing and writes nothing."""
        return _peeked(self.hit(key, cost=0))

    async def apeek(self, key: str) -> Decision:
        """Do what `peek` does."""
        return _peeked(await self.ahit(key, cost=0))

    def reset(self, key: str) -> None:
        """Forget all hits of `key`."""
        self.store.reset(self._charges(key, 0))

    async def areset(self, key: str) -> None:
        """Do what `reset` does."""
        await self.store.areset(self._charges(key, 0))

    def refund(self, key: str, cost: int = 1) -> None:
        """Refund `cost` units to `key`, from its oldest hits; never more than were charged."""
        self.store.refund(self._charges(key, cost))

    async def arefund(self, key: str, cost: int = 1) -> None:
        """Do what `refund` does."""
        await self.store.arefund(self._charges(key, cost))

    def acquire(self, key: str, cost: int = 1, timeout: float | None = None) -> Decision:
        """Wait until the hit is admitted, for at most `timeout` seconds (None: as long as it takes).

        If the deadline cannot be met, returns the denied decision immediately, without waiting.
        """
        deadline = _deadline(timeout)
        while True:
            decision = self.hit(key, cost)
            if decision.allowed or time.monotonic() + decision.retry_after > deadline:
                return decision
            sleep(decision.retry_after)

    async def aacquire(self, key: str, cost: int = 1, timeout: float | None = None) -> Decision:  # noqa: ASYNC109 - the twin's name
        """Do what `acquire` does."""
        deadline = _deadline(timeout)
        while True:
            decision = await self.ahit(key, cost)
            if decision.allowed or time.monotonic() + decision.retry_after > deadline:
                return decision
            await asleep(decision.retry_after)

    def close(self) -> None:
        """Close the store's connections."""
        self.store.close()

    async def aclose(self) -> None:
        """Do what `close` does, for this event loop."""
        await self.store.aclose()

    def _tell(self, charges: Sequence[Charge]) -> Decision:
        """Decide, and report the decision to the observers."""
        begun = time.perf_counter()
        decision = self._store.decide(charges, self.on_outage)
        self._report(charges, decision, time.perf_counter() - begun)
        return decision

    async def _atell(self, charges: Sequence[Charge]) -> Decision:
        """Do what `_tell` does."""
        begun = time.perf_counter()
        decision = await self._store.adecide(charges, self.on_outage)
        self._report(charges, decision, time.perf_counter() - begun)
        return decision

    def _report(self, charges: Sequence[Charge], decision: Decision, seconds: float) -> None:
        if charges[0].cost:  # a peek is not a decision
            names = self.name, "limiter", type(self.store).__name__
            self._store.observer.on_decision(Decided.of(names, decision, decision.verdicts, seconds))

    def _charges(self, key: str, cost: int) -> list[Charge]:
        if not isinstance(key, str):
            raise OptionError(f'key must be a string, got {key!r}. For example: limiter.hit("user:42")')
        text = self._namespace + (key if len(key) <= MAX_TEXT_LENGTH else shortened(key))
        if self._only is not None:
            return [_new(Charge, (text, self._only, cost))]
        return [_new(Charge, (text, limit, cost)) for limit in self.limits]


def _deadline(timeout: float | None) -> float:
    if timeout is None:
        return float("inf")
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not timeout >= 0:
        raise OptionError(f"timeout must be 0 or more seconds, or None, got {timeout!r}")
    return time.monotonic() + timeout


def _peeked(decision: Decision) -> Decision:
    """The decision for one unit, from that for a cost of 0, which always fits."""
    if decision.degraded:
        return decision
    verdicts = [
        Verdict(verdict.wait == 0, verdict.limit, verdict.remaining, verdict.wait, verdict.reset, verdict.charged_at)
        for verdict in decision.verdicts
    ]
    return Decision(verdicts)
