"""Token bucket in exact integers: what was spent melts away with every microsecond, nothing is rounded.

A token is `unit` credits, every microsecond gives `rate` of them back, and at most `capacity` may be spent. A state is
`(spent, stamp, born, rate)`: the credits that were spent at `stamp`, when the state was made from nothing, and the lowest
rate of the limits that have charged it. In any span t at most `burst + limit * t / per` tokens are admitted.

A unit is as many credits as the window has microseconds, whatever the limit: so a state means the same under another
number, and after a lowered one a key may be in debt, until the bucket would have been full under those that charged it.
Only where such numbers would not be exact in a double are they divided by their greatest common divisor; then the number
is part of the counter's name.

`decide.lua` holds the same steps for the Redis server; a differential test compares them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

from ratelimit_kit.core.durations import MICROSECONDS, Duration, microseconds, spell
from ratelimit_kit.core.limit import EXACT, FOREVER, SKEW, Limit, Peek, whole_number
from ratelimit_kit.core.validation import known_options
from ratelimit_kit.errors import QuotaError

Spent = tuple[int, int, int, int]
"""The credits that were spent, at which time, when the state was made from nothing, and the lowest rate that charged it."""

_new = tuple.__new__
"""Makes a Peek without a Python-level call."""


@dataclass(frozen=True, slots=True, init=False, repr=False)
class TokenBucket(Limit):
    """A bucket of `burst` tokens (default: `limit`) that refills at `limit` tokens `per` span.

    `per` is seconds, a timedelta, or text such as "5 minutes". In any span t at most
    `burst + t * limit / per` units are admitted. A limit of 0 refuses everything.
    """

    limit: int
    per: float
    burst: int
    window: int = field(compare=False)
    rate: int = field(compare=False)
    unit: int = field(compare=False)
    capacity: int = field(compare=False)
    max_cost: int = field(compare=False)
    max_lifetime: int = field(compare=False)
    id: str = field(compare=False)
    counter: str = field(compare=False)
    last_at: ClassVar[int] = 1

    @known_options
    def __init__(self, limit: int, per: Duration, *, burst: int | None = None) -> None:
        example = "TokenBucket(10, per=1, burst=50)"
        limit = whole_number("limit", limit, example, least=0)
        burst = limit if burst is None else whole_number("burst", burst, example, least=min(limit, 1))
        if burst and not limit:
            raise QuotaError(f"a token bucket with the limit 0 never refills: its burst must be 0, got {burst}")
        window = microseconds(per)
        rate, unit, counter = limit, window, f"tb-{window}"
        if 2 * burst * unit + rate >= EXACT:
            shared = math.gcd(limit, window)
            rate, unit, counter = limit // shared, window // shared, f"tb-{window}-{limit}"
            if 2 * burst * unit + rate >= EXACT:
                raise QuotaError(
                    f"a token bucket of {limit} per {spell(window)} with burst {burst} needs numbers above 2**53, "
                    "which Redis cannot compute exactly: choose a rounder limit, a smaller burst, or a sliding window"
                )
        capacity = burst * unit
        self._set(
            limit=limit,
            per=window / MICROSECONDS,
            burst=burst,
            window=window,
            rate=rate,
            unit=unit,
            capacity=capacity,
            max_cost=burst,
            max_lifetime=-(-capacity // rate) if rate else window,
            id=f"tb-{limit}-{window}-{burst}",
            counter=counter,
        )

    def __str__(self) -> str:
        return f"token-bucket: {self.limit}/{spell(self.window)} burst {self.burst}"

    def __repr__(self) -> str:
        return f"TokenBucket({self.limit}, per={self.per:g}, burst={self.burst})"

    def peek(self, state: Spent | None, now: int, cost: int) -> Peek:
        """Check whether `cost` tokens are available at `now`, without changing anything."""
        if state is not None and state[3] == self.rate > 0 and now >= state[1]:  # the most frequent case
            spent = state[0] - (now - state[1]) * self.rate
            left = self.capacity - spent if spent > 0 else self.capacity
            missing = (cost or 1) * self.unit - left
            wait = -(-missing // self.rate) if missing > 0 else 0
            reset = -(-spent // self.rate) if spent > 0 else 0
            return _new(Peek, (missing <= 0 or cost == 0, left // self.unit if left > 0 else 0, wait, reset))
        spent, ahead = self._spent(state, now)
        left = self.capacity - spent
        missing = (cost or 1) * self.unit - left
        if not self.rate:
            return Peek(cost == 0, 0, FOREVER, 0)
        wait = -(-missing // self.rate) + ahead if missing > 0 else 0
        reset = -(-spent // self.rate) + ahead if spent else 0
        if state is not None and spent and state[3] > self.rate:  # full earlier, under those that have charged it
            full = -(-state[0] // state[3]) + (ahead or min(0, state[1] - now))
            wait, reset = min(wait, full), min(reset, full)
        return Peek(missing <= 0 or cost == 0, left // self.unit if left > 0 else 0, wait, reset)

    def try_charge(self, state: Spent | None, now: int, cost: int) -> Spent | None:
        """The state after taking `cost` tokens at `now`; None if they are not available."""
        spent, stamp, born, rate = (0, now, now, self.rate) if state is None else state
        if now > stamp:
            spent = 0 if rate > self.rate and spent <= (now - stamp) * rate else spent - (now - stamp) * self.rate
            if spent <= 0:
                spent, born, rate = 0, now, self.rate
            stamp = now
        elif stamp - now > SKEW:
            stamp, born = now, min(born, now)
        spent += cost * self.unit
        return None if spent > self.capacity else (spent, stamp, born, min(rate, self.rate))

    def refund(self, state: Spent | None, now: int, cost: int, charged_at: int | None) -> Spent | None:
        """The state after returning `cost` tokens, less what has refilled since they were taken."""
        if state is None:
            return None
        spent, stamp, born, rate = state
        back = cost * self.unit
        if charged_at is not None:
            at = max(now, stamp)
            back = max(0, back - (at - charged_at) * self.rate) if born <= charged_at <= at else 0
        after = spent - back, stamp, born, rate
        return after if self._spent(after, now)[0] > 0 else None

    def lifetime(self, state: Spent, now: int) -> int:
        """Microseconds until the bucket is full under those that have charged it."""
        spent, stamp, _, rate = state
        return -(-spent // rate) + stamp - now

    def rewind(self, state: Spent, now: int) -> Spent:
        """The state with no stamp later than `now`, if it is more than SKEW ahead."""
        spent, stamp, born, rate = state
        return state if stamp - now <= SKEW else (spent, now, min(born, now), rate)

    def _spent(self, state: Spent | None, now: int) -> tuple[int, int]:
        """What is still spent at `now`, and for how long nothing refills because the state's stamp is ahead."""
        if state is None:
            return 0, 0
        spent, stamp, _, rate = state
        if now <= stamp:
            return max(0, spent), stamp - now if stamp - now <= SKEW else 0
        if rate > self.rate and spent <= (now - stamp) * rate:
            return 0, 0
        return max(0, spent - (now - stamp) * self.rate), 0
