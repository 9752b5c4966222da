"""What the three limits have in common: checks of numbers and costs, and the steps of an algorithm.

A limit is a frozen, hashable value that carries the integers of its algorithm. An algorithm has one state per key, an
immutable value or None for a key without hits, and three steps: `peek` (changes nothing), `try_charge` and `refund`.
Times are whole microseconds, and enter as arguments.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from ratelimit_kit.errors import CostError, QuotaError

EXACT: Final = 2**53
"""Below this every integer is exact in a double, which Redis scripts compute with."""

MAX_LIMIT: Final = 2**40

State = Any
"""What an algorithm remembers of a key: an immutable tuple of integers."""


class Peek(NamedTuple):
    """What an algorithm sees in a state, without changing it.

    `wait` is the time until the requested cost fits; a cost of 0 always fits, and `wait` is then
    about one unit.
    """

    fits: bool
    remaining: int
    wait: int
    reset: int


class Limit:
    """Base of SlidingWindow, TokenBucket and FixedWindow.

    `max_cost` is the most that is ever admitted at once, `max_lifetime` the microseconds after which no state matters,
    and `id` names the limit in the keys of stores.
    """

    __slots__ = ()
    limit: int
    max_cost: int
    max_lifetime: int
    id: str

    def peek(self, state: State | None, now: int, cost: int) -> Peek:
        """See whether `cost` fits at `now`; changes nothing."""
        raise NotImplementedError

    def try_charge(self, state: State | None, now: int, cost: int) -> State | None:
        """The state after a charge of `cost` (1 or more) at `now`; None when it does not fit."""
        raise NotImplementedError

    def refund(self, state: State | None, now: int, cost: int, charged_at: int | None) -> State | None:
        """The state after `cost` was given back: of hits made at `charged_at`, if that is known; None for no state."""
        raise NotImplementedError

    def dump(self, state: State) -> Sequence[int]:
        """A state as a flat list of integers, for stores that keep text."""
        numbers: Sequence[int] = state
        return numbers

    def load(self, numbers: Sequence[int]) -> State:
        """The state that was dumped."""
        return tuple(numbers)

    def check_cost(self, cost: int) -> None:
        """Raise CostError unless `cost` is a whole number that can ever be admitted."""
        if type(cost) is int and 0 <= cost <= self.max_cost:
            return
        if type(cost) is not int or cost < 0:
            raise CostError(
                f"cost must be a whole number of 0 or more, got {cost!r}: give the units that this hit uses"
            )
        raise CostError(
            f"cost={cost} is above {self.max_cost}, the most that {self} admits at once, so waiting does not help. "
            "Lower the cost, or raise the limit (for a token bucket its burst)"
        )

    def _set(self, **values: Any) -> None:
        """Set the fields of a frozen value, once."""
        for name, value in values.items():
            object.__setattr__(self, name, value)


def whole_number(name: str, value: object, example: str) -> int:
    """The value, if it is a whole number that a limit can have; else QuotaError."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise QuotaError(f"{name} must be a whole number, got {value!r}. For example: {example}")
    if not 1 <= value <= MAX_LIMIT:
        raise QuotaError(f"{name} must be from 1 to 2**40, got {value}. For example: {example}")
    return value
