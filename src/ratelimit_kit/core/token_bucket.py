"""Token bucket in exact integers: credits accrue every microsecond, and nothing is rounded.

A token costs `unit` credits and every microsecond adds `rate` of them (the ratio is
reduced by its greatest common divisor), up to `capacity`. A state is `(credits, stamp)`.
In any span t at most `burst + rate * t` tokens are admitted.

`decide.lua` holds the same steps for the Redis server; a differential test compares them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from ratelimit_kit.core.durations import MICROSECONDS, Duration, microseconds, spell
from ratelimit_kit.core.limit import EXACT, Limit, Peek, whole_number
from ratelimit_kit.core.validation import known_options
from ratelimit_kit.errors import QuotaError

Credits = tuple[int, int]
"""How many credits a bucket held, and when (microseconds)."""


@dataclass(frozen=True, slots=True, init=False, repr=False)
class TokenBucket(Limit):
    """A bucket of `burst` tokens (default: `limit`) that refills at `limit` tokens `per` span.

    `per` is seconds, a timedelta, or text such as "5 minutes". In any span t at most
    `burst + t * limit / per` units are admitted.
    """

    limit: int
    per: float
    burst: int
    rate: int = field(compare=False)
    unit: int = field(compare=False)
    capacity: int = field(compare=False)
    max_cost: int = field(compare=False)
    max_lifetime: int = field(compare=False)
    id: str = field(compare=False)

    @known_options
    def __init__(self, limit: int, per: Duration, *, burst: int | None = None) -> None:
        limit = whole_number("limit", limit, "TokenBucket(10, per=1, burst=50)")
        burst = limit if burst is None else whole_number("burst", burst, "TokenBucket(10, per=1, burst=50)")
        window = microseconds(per)
        shared = math.gcd(limit, window)
        rate, unit = limit // shared, window // shared
        capacity = burst * unit
        if 2 * capacity + rate >= EXACT:
            raise QuotaError(
                f"a token bucket of {limit} per {spell(window)} with burst {burst} needs numbers above 2**53, "
                "which Redis cannot compute exactly: choose a rounder limit, a smaller burst, or a sliding window"
            )
        self._set(
            limit=limit,
            per=window / MICROSECONDS,
            burst=burst,
            rate=rate,
            unit=unit,
            capacity=capacity,
            max_cost=burst,
            max_lifetime=-(-capacity // rate),
            id=f"tb-{limit}-{window}-{burst}",
        )

    def __str__(self) -> str:
        return f"token-bucket: {self.limit}/{spell(self.unit * self.limit // self.rate)} burst {self.burst}"

    def __repr__(self) -> str:
        return f"TokenBucket({self.limit}, per={self.per:g}, burst={self.burst})"

    def peek(self, state: Credits | None, now: int, cost: int) -> Peek:
        """Check whether `cost` tokens are available at `now`, without changing anything."""
        held = self._held(state, now)
        missing = (cost or 1) * self.unit - held
        wait = -(-missing // self.rate) if missing > 0 else 0
        reset = -(-(self.capacity - held) // self.rate)
        return Peek(missing <= 0 or cost == 0, held // self.unit, wait, reset)

    def try_charge(self, state: Credits | None, now: int, cost: int) -> Credits | None:
        """The state after taking `cost` tokens at `now`; None if they are not available."""
        held, stamp = (self.capacity, now) if state is None else state
        if now > stamp:
            held += (now - stamp) * self.rate
            if held > self.capacity:  # noqa: PLR1730 - min() takes longer
                held = self.capacity
            stamp = now
        held -= cost * self.unit
        return None if held < 0 else (held, stamp)

    def refund(self, state: Credits | None, now: int, cost: int, charged_at: int | None) -> Credits | None:  # noqa: ARG002 - tokens have no age
        """The state after returning `cost` tokens; None once the bucket is full."""
        if state is None:
            return None
        held = self._held(state, now) + cost * self.unit
        return None if held >= self.capacity else (held, max(now, state[1]))

    def _held(self, state: Credits | None, now: int) -> int:
        """The credits in the bucket at `now`; a clock that runs backwards adds nothing."""
        if state is None:
            return self.capacity
        held, stamp = state
        return min(self.capacity, held + max(0, now - stamp) * self.rate)
