"""The base class of the three limits: checks of numbers and costs, and the steps of an algorithm.

A limit is a frozen, hashable value that holds the integers of its algorithm. An algorithm has one state per key, an
immutable value or None for a key without hits, and three steps: `peek` (changes nothing), `try_charge` and `refund`.
Times are whole microseconds, and enter as arguments.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from hashlib import blake2b
from typing import Any, ClassVar, Final, NamedTuple, Self
from urllib.parse import quote

from ratelimit_kit.core.durations import MICROSECONDS
from ratelimit_kit.errors import CostError, QuotaError

EXACT: Final = 2**53
"""Up to here every integer is exact in a double, the number type of Redis scripts."""

MAX_LIMIT: Final = 2**40

MAX_NAME: Final = 24
"""Characters of a counter's name that are kept as they are: longer ones are hashed, for keys in stores are bounded."""

FOREVER: Final = 2**62
"""The wait in microseconds for what is never admitted."""

SKEW: Final = 2 * MICROSECONDS
"""How far the last stamp of a state may be ahead of the clock. More than this means that the clock was set back."""

State = Any
"""What an algorithm stores for a key: an immutable tuple of integers."""


class Peek(NamedTuple):
    """The result of peeking at a state; times are microseconds.

    `wait` is the time until the requested cost fits (FOREVER if it never does); a cost of 0 always fits, and
    `wait` is then for one unit. Where more is in use than the limit allows, `remaining` is 0. `reset` is the time until
    everything charged so far has expired.
    """

    fits: bool
    remaining: int
    wait: int
    reset: int


class Limit:
    """Base of SlidingWindow, TokenBucket and FixedWindow.

    `max_cost` is the most that is ever admitted at once, and `max_lifetime` the microseconds after which no state
    matters. `id` tells the limit from all others. `counter` names what it counts in: limits that differ only in their
    number share a counter, so that a changed number goes on from what was counted under the old one.
    """

    __slots__ = ()
    limit: int
    max_cost: int
    max_lifetime: int
    id: str
    counter: str
    last_at: ClassVar[int]
    """Where a state has its latest time."""

    def peek(self, state: State | None, now: int, cost: int) -> Peek:
        """Check whether `cost` fits at `now`, without changing anything."""
        raise NotImplementedError

    def try_charge(self, state: State | None, now: int, cost: int) -> State | None:
        """The state after a charge of `cost` (1 or more) at `now`; None if it does not fit."""
        raise NotImplementedError

    def refund(self, state: State | None, now: int, cost: int, charged_at: int | None) -> State | None:
        """The state after refunding `cost`, of hits made at `charged_at` if that is known; None if no state is left.

        Hits that are older than the state were counted in one that is gone, and nothing is refunded for them.
        """
        raise NotImplementedError

    def rewind(self, state: State, now: int) -> State:
        """The state with no stamp later than `now`, if one is more than SKEW ahead; else the very same state.

        `peek` and `try_charge` see a state like this. A store has to write it too, even if the decision is a denial:
        otherwise, after a clock was set back, the wait would begin again with each decision.
        """
        raise NotImplementedError

    def stamp(self, state: State, now: int) -> int:
        """The time under which a hit at `now` was charged to the state: later than `now` if the clock was set back."""
        last: int = state[self.last_at]
        return max(now, last)

    def lifetime(self, state: State, now: int) -> int:
        """Microseconds for which a state matters to the limits that have written it; 0 or less when it is over."""
        raise NotImplementedError

    def dump(self, state: State) -> Sequence[int]:
        """A state as a flat sequence of integers, for stores that keep text."""
        numbers: Sequence[int] = state
        return numbers

    def load(self, numbers: Sequence[int]) -> State:
        """The state from the result of `dump`."""
        return tuple(numbers)

    @property
    def max_numbers(self) -> int:
        """The most integers that `dump` returns, whatever the number of hits."""
        return 4

    @property
    def longest(self) -> int:
        """The former name of `max_lifetime`."""
        return self.max_lifetime

    def counted_as(self, name: str) -> Self:
        """The same limit in a counter of its own, which no other name shares; `name` may be any text."""
        text = quote(name, safe="", errors="surrogatepass")
        if len(text) > MAX_NAME:
            text = blake2b(text.encode(), digest_size=MAX_NAME // 2).hexdigest()
        return self.counted_in(f"{self.counter}#{text}")

    def counted_in(self, counter: str) -> Self:
        """The same limit in that counter, which must be of its kind."""
        other = copy(self)
        object.__setattr__(other, "counter", counter)
        return other

    def check_cost(self, cost: int) -> None:
        """Raise CostError unless `cost` is a whole number that can ever be admitted (a limit of 0 refuses any)."""
        if type(cost) is int and 0 <= cost <= self.max_cost:
            return
        check_units(cost)
        if self.limit == 0:
            return
        raise CostError(
            f"cost={cost} is above {self.max_cost}, the most that {self} admits at once, so waiting does not help. "
            "Lower the cost, or raise the limit (for a token bucket its burst)"
        )

    def _set(self, **values: Any) -> None:
        """Set the fields of a frozen dataclass, once."""
        for name, value in values.items():
            object.__setattr__(self, name, value)


def check_room(limits: Sequence[Limit], numbers: int | None, store: str) -> None:
    """Raise QuotaError if the state of a limit may hold more numbers than one entry of the store has room for."""
    for limit in limits:
        if numbers is not None and limit.max_numbers > numbers:
            raise QuotaError(
                f"the limit {limit} may keep {limit.max_numbers} numbers for each key, and an entry of {store} has room for "
                f"{numbers}: choose a lower resolution, up to {numbers // 4 - 2}"
            )


class Unlimited:
    """No limit at all: it makes no charge and no response field. UNLIMITED is the only one."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "UNLIMITED"

    def __str__(self) -> str:
        return "unlimited"

    def __reduce__(self) -> str:
        return "UNLIMITED"


UNLIMITED: Final = Unlimited()


def check_units(cost: object) -> None:
    """Raise CostError unless `cost` is a whole number of 0 or more."""
    if type(cost) is not int or cost < 0:
        raise CostError(f"cost must be a whole number of 0 or more, got {cost!r}: give the units that this hit uses")


def whole_number(name: str, value: object, example: str, *, least: int = 1) -> int:
    """The value, if it is a whole number that a limit can have; else QuotaError."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise QuotaError(f"{name} must be a whole number, got {value!r}. For example: {example}")
    if not least <= value <= MAX_LIMIT:
        raise QuotaError(f"{name} must be from {least} to 2**40, got {shown(value)}. For example: {example}")
    return value


def shown(number: int) -> str:
    """A number as an error shows it: Python refuses to write one of more than 4,300 digits."""
    return str(number) if abs(number) < 10**30 else f"a number of {number.bit_length()} bits"
