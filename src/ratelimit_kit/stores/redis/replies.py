"""Turns the replies of decide.lua into decisions: admitted or denied right away, the verdicts on demand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from struct import Struct, unpack
from typing import Any

from ratelimit_kit.core.decision import Decision, LazyDecision, StateAllowed, StateDenied, Verdict
from ratelimit_kit.core.fixed_window import FixedWindow
from ratelimit_kit.core.limit import FOREVER
from ratelimit_kit.core.sliding_window import SlidingWindow
from ratelimit_kit.core.token_bucket import TokenBucket
from ratelimit_kit.stores import Charge
from ratelimit_kit.stores.redis.connections.resp import Reply
from ratelimit_kit.stores.redis.driver import InvalidReply

_LENGTH = 3
"""How many numbers a reply holds for a limit, of each kind."""

_NUMBERS = tuple(Struct(f"<{length}d") for length in range(64))
"""The formats of short replies, which are compiled only once."""

_STATE = Struct("<dd16x")
"""The state of a token bucket: the time, the credits, and what is not needed here."""


class ReplyAllowed(LazyDecision):
    """An admission: `basis` holds the charges, the server's time, and the numbers of the reply."""

    __slots__ = ()

    def _compute(self) -> Sequence[Verdict]:
        charges, now, numbers = self.basis
        return _verdicts(charges, now, map(int, numbers), admitted=self.allowed)


class ReplyDenied(ReplyAllowed):
    """A denial, with the same `basis`."""

    __slots__ = ()
    allowed = False


def check_decisions(charges: Sequence[Charge], calls: int, reply: Reply) -> None:
    """Raise InvalidReply for what cannot be the reply to so many calls with such charges.

    It is a number for a single token bucket that was not charged, packed numbers for everything else.
    """
    of_bucket = len(charges) == 1 and isinstance(charges[0].limit, TokenBucket)
    if type(reply) is int:
        if of_bucket and calls == 1:
            return
    elif type(reply) is bytes:
        size = _LENGTH if of_bucket and calls > 1 else 1 + _LENGTH * len(charges)
        if len(reply) == 8 * (1 + calls * size) or (of_bucket and calls == 1 and len(reply) == _STATE.size):
            return
        if len(reply) == 8 and any(isinstance(limit, FixedWindow) for _, limit, _ in charges):
            return
    raise InvalidReply(f"the server sent {reply!r:.60} in reply to a decision")


def check_reply(expected: Reply, reply: Reply) -> None:
    """Raise InvalidReply unless the reply is the expected one, or a number where a number is expected."""
    if reply != expected and not (type(reply) is type(expected) is int):
        raise InvalidReply(f"the server sent {reply!r:.60} instead of {expected!r}")


def other_window(reply: int | bytes) -> int | None:
    """The server's time (microseconds) if it decided nothing, being in another calendar window; else None."""
    if isinstance(reply, int) or len(reply) > 8:
        return None
    (time,) = unpack("<d", reply)
    return -int(time)


def decisions(charges: Sequence[Charge], reply: int | bytes, *, many: bool = False) -> tuple[int, list[Decision]]:
    """The server's time (0 if it was not told) and the decisions of all calls with such charges, of one or of `many`."""
    if isinstance(reply, int):
        return 0, [_bucket(charges[0], 0, reply, 0, 0)]
    limit: Any = charges[0].limit
    if len(reply) == _STATE.size and not many:  # of one token bucket: nothing else is as long
        time, spent = _STATE.unpack(reply)
        admitted = StateAllowed()
        admitted.basis = limit, (int(spent), now := int(time), now, limit.rate), now, 0
        return now, [admitted]
    length = len(reply) // 8
    numbers = _NUMBERS[length].unpack(reply) if length < len(_NUMBERS) else unpack(f"<{length}d", reply)
    now = int(numbers[0])
    if len(charges) == 1 and isinstance(limit, TokenBucket):
        of_one = [map(int, numbers[at : at + 3]) for at in range(1, length - 2, 3)]
        return now, [_bucket(charges[0], now, *one) for one in of_one]
    step = 1 + _LENGTH * len(charges)
    found: list[Decision] = []
    for at in range(1, length, step):
        decision = ReplyAllowed() if numbers[at] else ReplyDenied()
        decision.basis = charges, now, numbers[at + 1 : at + step]
        found.append(decision)
    return now, found


def _bucket(charge: Charge, now: int, spent: int, ahead: int, full: int) -> Decision:
    """A decision of one token bucket: what is spent afterwards, or -1 minus what is spent on a denial."""
    allowed = spent >= 0
    state = (spent if allowed else -1 - spent), now + ahead, now, charge.limit.rate  # type: ignore[attr-defined]  # a token bucket
    if full:
        return Decision([_of_bucket(charge, state, now, full, admitted=allowed and charge.cost > 0)])
    if allowed:
        admitted = StateAllowed()
        admitted.basis = charge.limit, state, now, 0
        return admitted
    denied = StateDenied()
    denied.basis = charge.limit, state, now, charge.cost
    return denied


def _of_bucket(charge: Charge, state: tuple[int, ...], now: int, full: int, *, admitted: bool) -> Verdict:
    """The verdict of a token bucket that is `full` after that time, under the number that has written it (0: not so)."""
    peek = charge.limit.peek(state, now, 0 if admitted else charge.cost)
    wait = min(peek.wait, full) if full and peek.wait < FOREVER else peek.wait
    reset = min(peek.reset, full) if full else peek.reset
    return Verdict(peek.fits, charge.limit, peek.remaining, wait, reset, state[1] if admitted else now)


def _verdicts(charges: Sequence[Charge], now: int, numbers: Iterator[int], *, admitted: bool) -> list[Verdict]:
    found = []
    for charge in charges:
        _, limit, cost = charge
        if isinstance(limit, SlidingWindow):
            left, wait, reset = next(numbers), next(numbers), next(numbers)
            wait = wait if limit.limit else FOREVER
            stamp = now + reset - limit.window if admitted and cost else now
            found.append(Verdict(admitted or cost <= left, limit, left, wait, reset, stamp))
        elif isinstance(limit, TokenBucket):
            spent, ahead, full = next(numbers), next(numbers), next(numbers)
            found.append(_of_bucket(charge, (spent, now + ahead, now, limit.rate), now, full, admitted=admitted))
        else:
            end, count, born = next(numbers), next(numbers), next(numbers)
            peek = limit.peek((end, count, born) if end else None, now, 0 if admitted else cost)
            found.append(Verdict(peek.fits, limit, peek.remaining, peek.wait, peek.reset, max(now, born)))
    return found
