"""The Limiter: one or several limits on a store, applied per key.

Every method is followed by its async twin, which differs only in `async`, `await` and the `a` in
front of names (a test compares them). Both count on the same counters.
"""

from __future__ import annotations

import logging
import math
import time
import weakref
from collections.abc import Sequence
from typing import Final, TypeVar

from ratelimit_kit.core.decision import Decision, Verdict
from ratelimit_kit.core.events import Decided, Event
from ratelimit_kit.core.grammar import read_limits
from ratelimit_kit.core.limit import UNLIMITED, Limit, Unlimited, check_room
from ratelimit_kit.core.validation import check_switch, known_options
from ratelimit_kit.errors import OptionError
from ratelimit_kit.guard.declarations import OnUnsafe, Processes
from ratelimit_kit.guarded_store import GuardedStore, owed
from ratelimit_kit.observe import Observer
from ratelimit_kit.outage import Fallback, OnOutage, meanwhile
from ratelimit_kit.stores import Charge, FastPath, Scope, Store
from ratelimit_kit.stores.keys import MAX_TEXT_LENGTH, scoped, shortened
from ratelimit_kit.waiting import asleep, sleep

V = TypeVar("V")

_new = tuple.__new__
"""Makes a Charge without a Python-level call."""

DEFAULT_NAME: Final = "default"

_of_object: weakref.WeakKeyDictionary[Store, dict[str, Limit]] = weakref.WeakKeyDictionary()
_of_place: dict[str, dict[str, Limit]] = {}
"""The first limit of each counter of limiters with the default name: by store, or by where a store of others counts."""

MAX_REMEMBERED: Final = 1_000
"""Places, and counters in each, for which that is remembered; the oldest make room."""


class Limiter:
    """Admits a hit on a key only if every limit does; a denied hit changes nothing.

    `store` is a store or a URL (default: RATELIMIT_KIT_STORE, else memory); `name` is the namespace of the
    keys: limiters with the same name and store share the counters of limits that differ only in their number, so that a
    changed limit goes on from what was counted (`inherit=False` gives each number its own). `on_outage` says what to do when the
    store fails: "raise" (StoreError), or decide with `degraded` set: "deny", "allow", "local" (this process counts by the full
    limits in its memory) or "local-share" (by its share of them). `fallback` is a list of limits that those two apply instead.

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
        *limits: str | Limit | Unlimited,
        store: str | Store | None = None,
        name: str = DEFAULT_NAME,
        on_outage: OnOutage = "raise",
        fallback: Fallback | None = None,
        workers: int | None = None,
        hosts: int | None = None,
        allow_per_process: bool = False,
        on_unsafe: OnUnsafe = "shutdown",
        observer: Observer | Sequence[Observer] | None = None,
        deny_cache: bool = True,
        inherit: bool = True,
    ) -> None:
        self.limits = read_limits(limits, inherit=check_switch("inherit", inherit))
        self._only = self.limits[0] if len(self.limits) == 1 else None
        self.name = name
        self._namespace = scoped(name, "")
        self._meanwhile = meanwhile(on_outage, fallback)
        self._store = GuardedStore(
            store,
            observer,
            Processes(workers, hosts, allow_per_process, on_unsafe),
            deny_cache=deny_cache,
        )
        check_room(self.limits, self._store.backend.max_numbers, self._store.backend.title)
        self._store.check_lifetime()
        self._guard = self._store.guard
        self._guard.start()
        if name == DEFAULT_NAME:
            _tell_of_sharing(self._store, self.limits)
        self._fast: FastPath | None = None
        if self._only is not None and not self._store.observer.counting:
            self._fast = self._store.backend.fast_path(self._namespace.removesuffix(":"), self._only)

    def __repr__(self) -> str:
        limits = "; ".join(str(limit) for limit in self.limits or [UNLIMITED])
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
            return self._store.decide(self._charges(key, cost), self._meanwhile)
        return decision

    async def ahit(self, key: str, cost: int = 1) -> Decision:
        """Do what `hit` does."""
        if self._fast is None or self._guard.alert or (decision := self._fast(key, cost)) is None:
            if self._store.observer.counting:
                return await self._atell(self._charges(key, cost))
            return await self._store.adecide(self._charges(key, cost), self._meanwhile)
        return decision

    def peek(self, key: str) -> Decision:
        """The decision that a hit of cost 1 would get now; charges nothing and writes nothing."""
        return _peeked(self.hit(key, cost=0))

    async def apeek(self, key: str) -> Decision:
        """Do what `peek` does."""
        return _peeked(await self.ahit(key, cost=0))

    def reset(self, key: str) -> None:
        """Forget all hits of `key`."""
        charges = self._charges(key, 0)
        self._store.local.forget(charges, self._meanwhile)
        self.store.reset(charges)

    async def areset(self, key: str) -> None:
        """Do what `reset` does."""
        charges = self._charges(key, 0)
        self._store.local.forget(charges, self._meanwhile)
        await self.store.areset(charges)

    def refund(self, key: str, cost: int = 1, decision: Decision | None = None) -> None:
        """Refund `cost` units of the hit that got this `decision`, else of the oldest hits of `key`.

        Never more than was charged; nothing of a hit that a reset has forgotten, or that is not counted any more.
        """
        for charged_at, charges in owed(self._charges(key, cost), decision, self._store.local):
            self.store.refund(charges, charged_at)

    async def arefund(self, key: str, cost: int = 1, decision: Decision | None = None) -> None:
        """Do what `refund` does."""
        for charged_at, charges in owed(self._charges(key, cost), decision, self._store.local):
            await self.store.arefund(charges, charged_at)

    def acquire(self, key: str, cost: int = 1, timeout: float | None = None) -> Decision:
        """Wait until the hit is admitted, for at most `timeout` seconds (None: as long as it takes).

        If the deadline cannot be met, returns the denied decision immediately, without waiting.
        """
        deadline = _deadline(timeout)
        while True:
            decision = self.hit(key, cost)
            if decision.allowed or _is_too_long(decision.retry_after, deadline):
                return decision
            sleep(decision.retry_after)

    async def aacquire(self, key: str, cost: int = 1, timeout: float | None = None) -> Decision:  # noqa: ASYNC109 - the twin's name
        """Do what `acquire` does."""
        deadline = _deadline(timeout)
        while True:
            decision = await self.ahit(key, cost)
            if decision.allowed or _is_too_long(decision.retry_after, deadline):
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
        decision = self._store.decide(charges, self._meanwhile)
        self._report(charges, decision, time.perf_counter() - begun)
        return decision

    async def _atell(self, charges: Sequence[Charge]) -> Decision:
        """Do what `_tell` does."""
        begun = time.perf_counter()
        decision = await self._store.adecide(charges, self._meanwhile)
        self._report(charges, decision, time.perf_counter() - begun)
        return decision

    def _report(self, charges: Sequence[Charge], decision: Decision, seconds: float) -> None:
        if charges and charges[0].cost:  # a peek is not a decision
            names = self.name, "limiter", type(self.store).__name__
            self._store.observer.on_decision(Decided.of(names, decision, decision.verdicts, seconds))

    def _charges(self, key: str, cost: int) -> list[Charge]:
        if not isinstance(key, str):
            raise OptionError(f'key must be a string, got {key!r}. For example: limiter.hit("user:42")')
        text = self._namespace + (key if len(key) <= MAX_TEXT_LENGTH else shortened(key))
        if self._only is not None:
            return [_new(Charge, (text, self._only, cost))]
        return [_new(Charge, (text, limit, cost)) for limit in self.limits]


def _tell_of_sharing(store: GuardedStore, limits: Sequence[Limit]) -> None:
    """Report that two limiters which nobody named count in one counter: each then uses up the other's quota."""
    for limit in limits:
        first = _remembered(_counters_of(store.store), limit.counter, limit)
        if first != limit:
            message = (
                f"two limiters without a name count in one counter: {first} and {limit}. Give each a name of its own, "
                'such as name="login", or write inherit=False'
            )
            store.observer.on_event(Event("shared-counter", message, logging.WARNING, {"counter": limit.counter}))


def _counters_of(store: Store) -> dict[str, Limit]:
    """The first limit of each counter that limiters with the default name have in a store.

    Two objects are one store where their text names the servers, as that of this library's shared stores does.
    """
    named = store.scope is not Scope.PROCESS and type(store).__module__.startswith("ratelimit_kit.stores.")
    try:
        return _remembered(_of_place, repr(store), {}) if named else _of_object.setdefault(store, {})
    except TypeError:  # a store that cannot be referred to weakly
        return {}


def _remembered(known: dict[str, V], name: str, new: V) -> V:
    """What is known under a name, else what is new."""
    while name not in known and len(known) >= MAX_REMEMBERED:
        known.pop(next(iter(known)), None)
    return known.setdefault(name, new)


def _deadline(timeout: float | None) -> float:
    if timeout is None:
        return float("inf")
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not timeout >= 0:
        raise OptionError(f"timeout must be 0 or more seconds, or None, got {timeout!r}")
    return time.monotonic() + timeout


def _is_too_long(wait: float, deadline: float) -> bool:
    """Whether a wait ends after the deadline, or never."""
    return wait == math.inf or time.monotonic() + wait > deadline


def _peeked(decision: Decision) -> Decision:
    """The decision for one unit, from that for a cost of 0, which fits unless nothing does."""
    if not decision.allowed:
        return decision
    verdicts = [
        Verdict(verdict.wait == 0, verdict.limit, verdict.remaining, verdict.wait, verdict.reset, verdict.charged_at)
        for verdict in decision.verdicts
    ]
    return Decision(verdicts, decision.degraded)
