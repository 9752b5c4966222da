"""What the three limits have in common: whole numbers, a cost that can be admitted, and the steps of an algorithm.

A limit is a frozen, hashable value that carries the integers of its algorithm. An algorithm has one state per key, an
immutable value or None for a key without hits, and three steps: `peek` (changes nothing), `try_charge` and `refund`.
Times are whole microseconds, and enter as arguments.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from ratelimit_kit.errors import CostError, QuotaError

EXACT: Final = 2**53
"""Below it every integer is exact in a double, which is what Redis scripts compute with."""

MAX_LIMIT: Final = 2**40

State = Any
"""What an algorithm remembers of a key: a tuple of integers, which nobody changes."""


class Peek(NamedTuple):
    """What an algorithm sees in a state, without changing it.

    `wait` is the time until the asked cost fits; a cost of 0 always fits, and `wait` then
    speaks of one unit.
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
        """The state after `cost` was given back: of hits made at `charged_at`, where that is known; None for no state."""
        raise NotImplementedError

    def dump(self, state: State) -> Sequence[int]:
        """A state as a flat list of integers, for stores that keep text."""
        numbers: Sequence[int] = state
        return numbers

    def load(self, numbers: Sequence[int]) -> State:
        """The state that was dumped."""
        return tuple(numbers)

    def check_cost(self, cost: int) -> None:
        """Raise CostError unless `cost` is a whole number that can be admitted at some time."""
        if type(cost) is int and 0 <= cost <= self.max_cost:
            return
        if type(cost) is not int or cost < 0:
            raise CostError(f"cost={cost!r} is no whole number of 0 or more: give the units that this hit uses")
        raise CostError(
            f"cost={cost} is above {self.max_cost}, the most that {self} admits at once: no wait can satisfy it. "
            "Lower the cost, or raise the limit (for a token bucket its burst)"
        )

    def _set(self, **values: Any) -> None:
        """Set the fields of a frozen value, once."""
        for name, value in values.items():
            object.__setattr__(self, name, value)


def whole_number(name: str, value: object, example: str) -> int:
    """The value, when it is a whole number that a limit can have; else QuotaError."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise QuotaError(f"{name}={value!r} is no whole number: write for example {example}")
    if not 1 <= value <= MAX_LIMIT:
        raise QuotaError(f"{name}={value} is outside 1 to 2**40: write for example {example}")
    return value
