"""Turns the replies of decide.lua into decisions: admitted or denied right away, the verdicts on demand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from struct import unpack

from ratelimit_kit.core.decision import Decision, LazyDecision, StateAllowed, StateDenied, Verdict
from ratelimit_kit.core.fixed_window import FixedWindow
from ratelimit_kit.core.sliding_window import SlidingWindow
from ratelimit_kit.core.token_bucket import TokenBucket
from ratelimit_kit.stores import Charge

Reply = int | bytes
"""A number for a single token bucket, packed numbers for everything else."""

_LENGTHS = {TokenBucket: 1, FixedWindow: 2, SlidingWindow: 3}
"""How many numbers a reply holds for each kind of limit."""


class ReplyAllowed(LazyDecision):
    """An admission: `basis` holds the charges, the server's time, and the numbers of the reply."""

    __slots__ = ()

    def _compute(self) -> Sequence[Verdict]:
        charges, now, numbers = self.basis
        return _verdicts(charges, now, iter(numbers), admitted=self.allowed)


class ReplyDenied(ReplyAllowed):
    """A denial, with the same `basis`."""

    __slots__ = ()
    allowed = False


def other_window(reply: Reply) -> int | None:
    """The server's time (microseconds) if it decided nothing, being in another calendar window; else None."""
    if isinstance(reply, int) or len(reply) > 8:
        return None
    (time,) = unpack("<d", reply)
    return -int(time)


def decisions(charges: Sequence[Charge], reply: Reply) -> tuple[int, list[Decision]]:
    """The server's time (0 if the reply lacks it) and one decision per call of the batch."""
    if isinstance(reply, int):
        return 0, [_bucket(charges[0], reply)]
    now, *numbers = map(int, unpack(f"<{len(reply) // 8}d", reply))
    if len(charges) == 1 and isinstance(charges[0].limit, TokenBucket):
        charge = charges[0]
        return now, [_bucket(charge, number) for number in numbers]
    step = 1 + sum([_LENGTHS[type(limit)] for _, limit, _ in charges])
    found: list[Decision] = []
    for at in range(0, len(numbers), step):
        decision = ReplyAllowed() if numbers[at] else ReplyDenied()
        decision.basis = charges, now, numbers[at + 1 : at + step]
        found.append(decision)
    return now, found


def _bucket(charge: Charge, reply: int) -> Decision:
    """The decision of a token bucket; `reply` is its credits afterwards, or -1 minus its credits on a denial."""
    if reply >= 0:
        admitted = StateAllowed()
        admitted.basis = charge.limit, (reply, 0), 0, 0
        return admitted
    denied = StateDenied()
    denied.basis = charge.limit, (-1 - reply, 0), 0, charge.cost
    return denied


def _verdicts(charges: Sequence[Charge], now: int, numbers: Iterator[int], *, admitted: bool) -> list[Verdict]:
    found = []
    for _, limit, cost in charges:
        if isinstance(limit, SlidingWindow):
            left, wait, reset = next(numbers), next(numbers), next(numbers)
            found.append(Verdict(admitted or cost <= left, limit, left, wait, reset, now))
            continue
        if isinstance(limit, TokenBucket):
            state: tuple[int, int] | None = (next(numbers), now)
        else:
            end, count = next(numbers), next(numbers)
            state = (end, count) if end else None
        peek = limit.peek(state, now, 0 if admitted else cost)
        found.append(Verdict(peek.fits, limit, peek.remaining, peek.wait, peek.reset, now))
    return found
