"""What every store must answer: the limits' own steps on a dictionary, with nothing around them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ratelimit_kit.core.decision import Look, Verdict
from ratelimit_kit.stores import Charge


class Model:
    """A store without a lock, a server or a sweep; `clock` returns nanoseconds."""

    def __init__(self, clock: Callable[[], int]) -> None:
        self.clock = clock
        self.states: dict[tuple[str, Any], Any] = {}

    def decide(self, charges: Sequence[Charge]) -> list[Verdict]:
        """Admit all charges or change nothing."""
        now = self._now()
        looks = [self._limit(charge).look(self._state(charge), now, charge.cost) for charge in charges]
        if all(look.fits for look in looks):
            looks = [
                self._charge(charge, now) if charge.cost else look for charge, look in zip(charges, looks, strict=True)
            ]
        return [
            Verdict(look.fits, charge.limit, look.remaining, look.wait, look.reset)
            for charge, look in zip(charges, looks, strict=True)
        ]

    def refund(self, charges: Sequence[Charge], stamp: int | None = None) -> None:
        """Give costs back."""
        for charge in charges:
            state = self._limit(charge).refund(self._state(charge), self._now(), charge.cost, stamp)
            self.states[charge.key, charge.limit] = state

    def reset(self, charges: Sequence[Charge]) -> None:
        """Forget the charges' keys and limits."""
        for charge in charges:
            self.states.pop((charge.key, charge.limit), None)

    def _now(self) -> int:
        return self.clock() // 1000

    def _limit(self, charge: Charge) -> Any:
        return charge.limit

    def _state(self, charge: Charge) -> Any:
        return self.states.get((charge.key, charge.limit))

    def _charge(self, charge: Charge, now: int) -> Look:
        state = self._limit(charge).charge(self._state(charge), now, charge.cost)
        self.states[charge.key, charge.limit] = state
        look: Look = self._limit(charge).look(state, now, 0)
        return look
