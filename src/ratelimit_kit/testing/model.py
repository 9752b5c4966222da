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
        self.states: dict[tuple[str, Any], Any] = {}

    def decide(self, charges: Sequence[Charge]) -> list[Verdict]:
        """Admit all charges or change nothing."""
        now = self._now()
        peeks = [charge.limit.peek(self._state(charge), now, charge.cost) for charge in charges]
        if all(peek.fits for peek in peeks):
            peeks = [
                self._charge(charge, now) if charge.cost else peek for charge, peek in zip(charges, peeks, strict=True)
            ]
        return [
            Verdict(peek.fits, charge.limit, peek.remaining, peek.wait, peek.reset)
            for charge, peek in zip(charges, peeks, strict=True)
        ]

    def refund(self, charges: Sequence[Charge], charged_at: int | None = None) -> None:
        """Refund costs."""
        for charge in charges:
            state = charge.limit.refund(self._state(charge), self._now(), charge.cost, charged_at)
            self.states[charge.key, charge.limit] = state

    def reset(self, charges: Sequence[Charge]) -> None:
        """Forget the charges' keys and limits."""
        for charge in charges:
            self.states.pop((charge.key, charge.limit), None)

    def _now(self) -> int:
        return self.clock() // 1000

    def _state(self, charge: Charge) -> Any:
        return self.states.get((charge.key, charge.limit))

    def _charge(self, charge: Charge, now: int) -> Peek:
        state = charge.limit.try_charge(self._state(charge), now, charge.cost)
        self.states[charge.key, charge.limit] = state
        return charge.limit.peek(state, now, 0)
