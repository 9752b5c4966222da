"""Decisions by this process's own counters, while the store does not decide.

They start empty beside what the store has admitted, and outlive its recovery until they expire: otherwise a store that
comes and goes would give everybody a new quota each time.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from ratelimit_kit.census import Census
from ratelimit_kit.core.decision import Decision, Verdict
from ratelimit_kit.core.fixed_window import FixedWindow
from ratelimit_kit.core.limit import Limit
from ratelimit_kit.core.sliding_window import SlidingWindow
from ratelimit_kit.core.token_bucket import TokenBucket
from ratelimit_kit.errors import QuotaError
from ratelimit_kit.guard.workers.count import declared
from ratelimit_kit.guard.workers.detection import detected
from ratelimit_kit.outage.policy import Meanwhile
from ratelimit_kit.stores import Charge
from ratelimit_kit.stores.memory.store import MemoryStore

MAX_KEYS = 100_000
"""Maximum number of live counters in each process; after that, further keys share one strict counter per limit."""

DIVIDE_SECONDS = 1.0
"""Interval between looks into how many processes serve."""

Charged = tuple[tuple[Charge, int], ...]
"""What was charged to local counters, and when (`charged_at` of each counter's clock)."""

Counter = tuple[str, str]
"""The key and the kind of limit that identify a counter."""


@dataclass(slots=True)
class LocalVerdict(Verdict):
    """The verdict of this process's counters; `charged` is what a refund gives back to them."""

    charged: Charged = ()


def is_local(decision: Decision) -> bool:
    """Whether this process's counters decided."""
    return decision.degraded and any(isinstance(verdict, LocalVerdict) for verdict in decision.verdicts)


def counted_beside(decision: Decision, local: Decision) -> Decision:
    """A store's decision, with what local counters were charged beside it."""
    verdicts = [
        LocalVerdict(one.allowed, one.limit, one.remaining, one.wait, one.reset, one.charged_at, _charged(here))
        for one, here in zip(decision.verdicts, local.verdicts, strict=True)
    ]
    return Decision(verdicts)


class LocalCounters:
    """This process's counters, by full limits or by its share of them, from the first outage on.

    The share is one of those that the census has lately counted, or of the declared number of workers if that is larger,
    or, if none is declared, of the detected one. A limit below that number becomes 1, so all workers together then admit
    more than the limit.
    """

    def __init__(self, workers: int | None, census: Census) -> None:
        self._declared = workers
        self.census = census
        self._store = MemoryStore(max_keys=MAX_KEYS)
        self._divisor = 0
        self._divided_at = 0.0

    @property
    def workers(self) -> int | None:
        """The number of serving processes: the larger of what is counted and what is declared, or else detected."""
        found = declared(self._declared) or detected()
        return max(self.census.size, 0 if found is None else found.count) or None

    @property
    def declared(self) -> int | None:
        """The number of serving processes that is declared."""
        word = declared(self._declared)
        return None if word is None else word.count

    @property
    def has_room(self) -> bool:
        """Whether a further key gets a counter of its own."""
        return len(self._store) < MAX_KEYS

    def decide(self, charges: Sequence[Charge], meanwhile: Meanwhile) -> Decision:
        """Decide by the limits of `meanwhile`; a cost above a share or a fallback uses up all of it."""
        for charge in charges:
            charge.limit.check_cost(charge.cost)
        parts = self._parts(charges, meanwhile)
        asked: dict[Counter, Charge] = {}
        for part in parts:
            for one in part:
                other = asked.get(one.counter)
                if other is None or other.cost < one.cost:
                    asked[one.counter] = one
        verdicts = dict(zip(asked, self._store.decide(list(asked.values())), strict=True))
        charged = asked if all(verdict.allowed for verdict in verdicts.values()) else {}
        found = [_verdict(part, verdicts, charged) for part in parts]
        for verdict, charge, fallback in zip(found, charges, meanwhile.fallbacks(len(charges)), strict=True):
            verdict.limit = verdict.limit if fallback else charge.limit
        return Decision(found, degraded=True)

    def undo(self, charges: Sequence[Charge], decision: Decision) -> None:
        """Give back the costs of `charges` as far as `decision` has charged them here."""
        for wanted, verdict in zip(charges, decision.verdicts, strict=True):
            for charge, charged_at in _charged(verdict):
                self._store.refund([charge._replace(cost=min(wanted.cost, charge.cost))], charged_at)

    def forget(self, charges: Sequence[Charge], meanwhile: Meanwhile) -> None:
        """Forget what was counted here for these charges."""
        self._store.reset([one for part in self._parts(charges, meanwhile) for one in part])

    def _parts(self, charges: Sequence[Charge], meanwhile: Meanwhile) -> list[list[Charge]]:
        """What each charge is counted by here."""
        divisor = 1
        if meanwhile.on_outage == "local-share":
            divisor = self._share()
        parts = []
        for charge, fallback in zip(charges, meanwhile.fallbacks(len(charges)), strict=True):
            limits = fallback or (charge.limit,)
            if divisor > 1:
                limits = tuple([share(limit, divisor).counted_in(limit.counter) for limit in limits])
            parts.append([Charge(charge.key, limit, _capped(charge, limit)) for limit in limits])
        return parts

    def _share(self) -> int:
        """By how much limits are divided: a process that joins or leaves changes it, and what was counted stays."""
        now = time.monotonic()
        if not self._divisor or now >= self._divided_at + DIVIDE_SECONDS:
            self._divisor, self._divided_at = self.workers or 1, now
        return self._divisor


def _charged(verdict: Verdict) -> Charged:
    """What was charged here for a verdict."""
    return verdict.charged if isinstance(verdict, LocalVerdict) else ()


def _capped(charge: Charge, limit: Limit) -> int:
    """The cost, or what a smaller limit admits at most; a limit of 0 refuses all the same."""
    return min(charge.cost, limit.max_cost) if limit.max_cost else charge.cost


def _verdict(part: Sequence[Charge], verdicts: Mapping[Counter, Verdict], charged: dict[Counter, Charge]) -> Verdict:
    """The verdict for a charge: the strictest of its counters. What was `charged` goes to the first that names it."""
    found = max(
        [verdicts[one.counter] for one in part],
        key=lambda verdict: (not verdict.allowed, verdict.wait, -verdict.remaining),
    )
    taken = [(charged.pop(one.counter), verdicts[one.counter].charged_at) for one in part if one.counter in charged]
    return LocalVerdict(
        found.allowed,
        found.limit,
        found.remaining,
        found.wait,
        found.reset,
        charged=tuple([(charge, charged_at) for charge, charged_at in taken if charge.cost]),
    )


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
