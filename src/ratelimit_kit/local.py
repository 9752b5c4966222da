"""`on_outage="local"`: while the store is away, each process keeps to its share of the limits in memory."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from ratelimit_kit.core.decision import Decision, Verdict
from ratelimit_kit.core.limits import FixedWindow, Limit, SlidingWindow, TokenBucket
from ratelimit_kit.guard.servers import detected
from ratelimit_kit.guard.workers import declared
from ratelimit_kit.stores import Charge
from ratelimit_kit.stores.memory.store import MemoryStore


class LocalShare:
    """Limits divided by the number of workers, counted in this process.

    The number is the declared one, else what the server shows, else 1. A limit below it becomes 1, so
    then all workers together admit more than it says.
    """

    def __init__(self, workers: int | None) -> None:
        found = declared(workers) or detected()
        self.workers = 1 if found is None else found.count
        self._store = MemoryStore()

    def decide(self, charges: Sequence[Charge]) -> Decision:
        """Decide by the shares; a cost above a share uses all of it."""
        shares = [share(charge.limit, self.workers) for charge in charges]
        asked = [
            Charge(charge.key, limit, min(charge.cost, limit.most))
            for charge, limit in zip(charges, shares, strict=True)
        ]
        verdicts = self._store.decide(asked)
        return Decision(
            [
                Verdict(verdict.allowed, charge.limit, verdict.remaining, verdict.wait, verdict.reset)
                for charge, verdict in zip(charges, verdicts, strict=True)
            ],
            degraded=True,
        )


@lru_cache(maxsize=1024)
def share(limit: Limit, workers: int) -> Limit:
    """The part of a limit that one of several workers may admit."""

    def part(number: int) -> int:
        return max(1, number // workers)

    if isinstance(limit, TokenBucket):
        return TokenBucket(part(limit.limit), limit.per, burst=part(limit.burst))
    if isinstance(limit, SlidingWindow):
        return SlidingWindow(part(limit.limit), limit.per, resolution=limit.resolution)
    return FixedWindow(part(limit.limit), limit.per, tz=limit.tz)
