"""What decide.lua answers, as decisions: read at once as far as they say who passes, and else when asked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from struct import unpack

from ratelimit_kit.core.decision import Admitted, Computed, Decision, Denied, Verdict
from ratelimit_kit.core.limits import FixedWindow, SlidingWindow, TokenBucket
from ratelimit_kit.stores import Charge

Answer = int | bytes
"""One token bucket is answered with a number, all else with packed numbers."""

_LENGTHS = {TokenBucket: 1, FixedWindow: 2, SlidingWindow: 3}
"""Numbers for each kind of limit."""


class _Admitted(Computed):
    """An admission: `basis` is what was asked, the server's time, and its numbers."""

    __slots__ = ()

    def _compute(self) -> Sequence[Verdict]:
        charges, now, numbers = self.basis
        return _verdicts(charges, now, iter(numbers), admitted=self.allowed)


class _Refused(_Admitted):
    """A denial, likewise."""

    __slots__ = ()
    allowed = False


def other_window(answer: Answer) -> int | None:
    """The server's time, where it lives in another calendar window than we thought and has decided nothing."""
    if isinstance(answer, int) or len(answer) > 8:
        return None
    (time,) = unpack("<d", answer)
    return -int(time)


def decisions(charges: Sequence[Charge], answer: Answer) -> tuple[int, list[Decision]]:
    """The server's time (0 where it was not told) and the decisions of all calls with such charges."""
    if isinstance(answer, int):
        return 0, [_bucket(charges[0], answer)]
    now, *numbers = map(int, unpack(f"<{len(answer) // 8}d", answer))
    if len(charges) == 1 and isinstance(charges[0].limit, TokenBucket):
        charge = charges[0]
        return now, [_bucket(charge, number) for number in numbers]
    step = 1 + sum([_LENGTHS[type(limit)] for _, limit, _ in charges])
    found: list[Decision] = []
    for at in range(0, len(numbers), step):
        decision = _Admitted() if numbers[at] else _Refused()
        decision.basis = charges, now, numbers[at + 1 : at + step]
        found.append(decision)
    return now, found


def _bucket(charge: Charge, answer: int) -> Decision:
    """A decision of one token bucket: its credits afterwards, or -1 minus its credits when it refuses."""
    if answer >= 0:
        admitted = Admitted()
        admitted.basis = charge.limit, (answer, 0), 0, 0
        return admitted
    denied = Denied()
    denied.basis = charge.limit, (-1 - answer, 0), 0, charge.cost
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
        look = limit.look(state, now, 0 if admitted else cost)
        found.append(Verdict(look.fits, limit, look.remaining, look.wait, look.reset, now))
    return found
