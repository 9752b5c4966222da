"""A cache of denials: what a store has denied until some time is denied from memory until then.

Only a reset, a refund or another limit can admit sooner. A store with `denials_cacheable` reports its own resets
and refunds (`forget`); those of other processes are noticed within MAX_SECONDS. Only the charges that caused a
denial are cached, and only for the same cost: for all others the store is asked. The interval begins before the
call was sent, so no client is denied for longer than the store said.
"""

from __future__ import annotations

import weakref
from collections.abc import Container, Sequence
from threading import Lock
from time import monotonic
from typing import Any, Final, NamedTuple

from ratelimit_kit.core.decision import Decision, StateDenied, Verdict
from ratelimit_kit.core.durations import MICROSECONDS
from ratelimit_kit.core.fork import with_lock
from ratelimit_kit.core.limit import FOREVER
from ratelimit_kit.stores import Charge, check_charges

MAX_DENIALS: Final = 10_000
"""Maximum number of denials kept; the oldest make room for new ones."""

MAX_SECONDS: Final = 10.0
"""How long a denial is kept at most: another process may have reset the key."""

REFUND_SECONDS: Final = 600.0
"""For how long after a refund denials by limits of the same kind are not cached: where only failures count,
any process may refund again."""


Indexes = Container[int]
"""Places in a list of charges."""


class _Known(NamedTuple):
    """A denial: when it was asked for, until when it holds, and the charges and verdicts.

    `place` is the index of the charge that was denied.
    """

    since: float
    until: float
    charges: Sequence[Charge]
    verdicts: Sequence[Verdict]
    place: int


class DenialCache:
    """The cached denials of one guarded store."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], _Known] = {}
        self._given_back: dict[str, float] = {}
        self._forgot = 0.0
        self._lock = Lock()
        with_lock.add(self)
        _all.add(self)

    def __len__(self) -> int:
        return len(self._known)

    def find(self, charges: Sequence[Charge]) -> Decision | None:
        """A denial of these charges that still holds, or None."""
        if not self._known:
            return None
        for key, limit, cost in charges:
            known = self._known.get((key, limit.counter))
            if known is not None and known.charges[known.place] == (key, limit, cost):
                now = monotonic()
                if now < known.until:
                    return _denied(charges, known, now)
                self._known.pop((key, limit.counter), None)
        return None

    def keep(self, charges: Sequence[Charge], decision: Decision, begun: float, provisional: Indexes = ()) -> None:
        """Cache a denial that was asked for at `begun` (seconds of the monotonic clock).

        A denial by a charge that is given back as a rule (its index is in `provisional`) is not cached: its counter may
        be full of hits that are about to be given back, by any process.
        """
        verdicts = decision.verdicts
        if any(not verdict.allowed and index in provisional for index, verdict in enumerate(verdicts)):
            return
        with self._lock:
            if begun <= self._forgot:
                return
            for index, (charge, verdict) in enumerate(zip(charges, verdicts, strict=True)):
                if (
                    verdict.allowed
                    or begun < self._given_back.get(charge.limit.counter, -REFUND_SECONDS) + REFUND_SECONDS
                ):
                    continue
                until = begun + min(verdict.wait / MICROSECONDS, MAX_SECONDS)
                while len(self._known) >= MAX_DENIALS:
                    del self._known[next(iter(self._known))]
                self._known[charge.counter] = _Known(begun, until, charges, verdicts, index)

    def _forget(self, charges: Sequence[Charge], *, refunded: bool) -> None:
        now = monotonic()
        with self._lock:
            self._forgot = now
            for charge in charges:
                self._known.pop(charge.counter, None)
                if refunded:
                    self._given_back[charge.limit.counter] = now
            if len(self._given_back) > MAX_DENIALS:
                self._given_back = {charge.limit.counter: now for charge in charges}

    def _forget_all(self) -> None:
        with self._lock:
            self._forgot = monotonic()
            self._known.clear()


class CachedDenial(StateDenied):
    """A denial from the cache: `basis` holds the cached entry, the charges asked for now, and the time."""

    __slots__ = ()
    cached = True

    def _compute(self) -> Sequence[Verdict]:
        known, charges, now = self.basis
        gone = round((now - known.since) * MICROSECONDS)
        if list(charges) == list(known.charges):
            return [_later(verdict, gone) for verdict in known.verdicts]
        asked = known.charges[known.place]
        return [
            _later(known.verdicts[known.place], gone) if charge == asked else Verdict(True, charge.limit, 0, 0, 0)
            for charge in charges
        ]


def forget(charges: Sequence[Charge], *, refunded: bool = False) -> None:
    """Drop the denials of these counters in all caches of this process, after a reset or a refund."""
    for denials in list(_all):
        denials._forget(charges, refunded=refunded)  # noqa: SLF001 - its own module


def forget_all() -> None:
    """Drop every denial in this process, because a store was cleared."""
    for denials in list(_all):
        denials._forget_all()  # noqa: SLF001 - its own module


def _denied(charges: Sequence[Charge], known: _Known, now: float) -> Decision:
    if charges != known.charges:
        check_charges(charges)
    denied = CachedDenial()
    denied.basis = known, charges, now
    return denied


def _later(verdict: Verdict, gone: int) -> Verdict:
    """The same verdict `gone` microseconds later; a denial still has a wait of at least one."""
    wait, reset = max(0 if verdict.allowed else 1, verdict.wait - gone), max(0, verdict.reset - gone)
    wait = FOREVER if verdict.wait == FOREVER else wait
    return Verdict(verdict.allowed, verdict.limit, verdict.remaining, wait, reset, verdict.charged_at)


_all: weakref.WeakSet[Any] = weakref.WeakSet()
