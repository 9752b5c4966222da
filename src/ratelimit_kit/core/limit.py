"""The base class of the three limits: checks of numbers and costs, and the steps of an algorithm.

A limit is a frozen, hashable value that holds the integers of its algorithm. An algorithm has one state per key, an
immutable value or None for a key without hits, and three steps: `peek` (changes nothing), `try_charge` and `refund`.
Times are whole microseconds and are passed in as arguments.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from ratelimit_kit.errors import CostError, QuotaError

EXACT: Final = 2**53
"""Up to here every integer is exact in a double, the number type of Redis scripts."""

MAX_LIMIT: Final = 2**40

State = Any
"""What an algorithm stores for a key: an immutable tuple of integers."""


class Peek(NamedTuple):
    """The result of peeking at a state; times are microseconds.

    `wait` is the time until the requested cost fits; a cost of 0 always fits, and then `wait` is
    for one unit. `reset` is the time until everything charged so far has expired.
    """

    fits: bool
    remaining: int
    wait: int
    reset: int


class Limit:
    """Base of SlidingWindow, TokenBucket and FixedWindow.

    `max_cost` is the highest cost that can be admitted, `max_lifetime` the microseconds after which no state matters,
    and `id` names the limit in the keys of stores.
    """

    __slots__ = ()
    limit: int
    max_cost: int
    max_lifetime: int
    id: str

    def peek(self, state: State | None, now: int, cost: int) -> Peek:
        """Check whether `cost` fits at `now`, without changing anything."""
        raise NotImplementedError

    def try_charge(self, state: State | None, now: int, cost: int) -> State | None:
        """The state after a charge of `cost` (1 or more) at `now`; None if it does not fit."""
        raise NotImplementedError

    def refund(self, state: State | None, now: int, cost: int, charged_at: int | None) -> State | None:
        """The state after refunding `cost`, of hits made at `charged_at` if that is known; None if no state is left."""
        raise NotImplementedError

    def dump(self, state: State) -> Sequence[int]:
        """A state as a flat sequence of integers, for stores that keep text."""
        numbers: Sequence[int] = state
        return numbers

    def load(self, numbers: Sequence[int]) -> State:
        """The state from the result of `dump`."""
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
        """Set the fields of a frozen dataclass, once."""
        for name, value in values.items():
            object.__setattr__(self, name, value)


def whole_number(name: str, value: object, example: str) -> int:
    """The value if it is a whole number that a limit can have; else raises QuotaError."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise QuotaError(f"{name} must be a whole number, got {value!r}. For example: {example}")
    if not 1 <= value <= MAX_LIMIT:
        raise QuotaError(f"{name} must be from 1 to 2**40, got {value}. For example: {example}")
    return value
