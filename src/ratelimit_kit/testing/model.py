"""The reference for every store: the limits' own steps on a plain dictionary."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ratelimit_kit.core.decision import Verdict
from ratelimit_kit.core.limit import Peek
from ratelimit_kit.stores import Charge


class Model:
    """A store without a lock, a server or a sweep; `clock` returns nanoseconds."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self.clock = clock
        self.states: dict[tuple[str, str], Any] = {}

    def decide(self, charges: Sequence[Charge]) -> list[Verdict]:
        """Admit all charges, or change nothing but stamps that the clock was set back behind."""
        now = self._now()
        for charge in charges:
            if (state := self.states.get(charge.counter)) is not None:
                self.states[charge.counter] = charge.limit.rewind(state, now)
        peeks = [charge.limit.peek(self.states.get(charge.counter), now, charge.cost) for charge in charges]
        if all(peek.fits for peek in peeks):
            peeks = [
                self._charge(charge, now) if charge.cost else peek for charge, peek in zip(charges, peeks, strict=True)
            ]
        return [
            Verdict(peek.fits, charge.limit, peek.remaining, peek.wait, peek.reset)
            for charge, peek in zip(charges, peeks, strict=True)
        ]

    def refund(self, charges: Sequence[Charge], charged_at: int | None = None) -> None:
        """Refund the costs of the hits made at `charged_at` (microseconds), or of the oldest if it is None."""
        for charge in charges:
            state = self.states.get(charge.counter)
            self.states[charge.counter] = charge.limit.refund(state, self._now(), charge.cost, charged_at)

    def reset(self, charges: Sequence[Charge]) -> None:
        """Forget everything about the charges' keys and limits."""
        for charge in charges:
            self.states.pop(charge.counter, None)

    def _now(self) -> int:
        return self.clock() // 1000

    def _charge(self, charge: Charge, now: int) -> Peek:
        state = charge.limit.try_charge(self.states.get(charge.counter), now, charge.cost)
        self.states[charge.counter] = state
        return charge.limit.peek(state, now, 0)
