"""Turns the replies of decide.lua into decisions: admitted or denied right away, the verdicts on demand.

A server that decided nothing, being in another calendar window, replies with its time (microseconds): an integer here,
instead of a decision.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from struct import Struct, unpack

from ratelimit_kit.core.decision import LazyDecision, Verdict
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

_OF_BUCKET = Struct("<dddd8x")
"""The long reply about a token bucket: the time, and as in BucketAllowed."""


class TimedDecision(LazyDecision):
    """A decision whose `basis` begins with the server's time in microseconds (0 if it was not told)."""

    __slots__ = ()

    @property
    def time(self) -> int:
        """The server's time in microseconds."""
        return int(self.basis[0])


class BucketAllowed(TimedDecision):
    """An admission by one token bucket.

    `basis` holds the time, the charge, what is spent afterwards (-1 minus what is spent, after a denial), how far the state
    is ahead of the clock, and when the bucket is full under the number that has written it (0: not known to be earlier).
    """

    __slots__ = ()

    def _compute(self) -> Sequence[Verdict]:
        time, charge, *numbers = self.basis
        now, (spent, ahead, full) = int(time), map(int, numbers)
        state = spent if self.allowed else -1 - spent, now + ahead, now, charge.limit.rate
        return [_of_bucket(charge, state, now, full, admitted=self.allowed and charge.cost > 0)]


class BucketDenied(BucketAllowed):
    """A denial, with the same `basis`."""

    __slots__ = ()
    allowed = False


class Allowed(TimedDecision):
    """An admission by several limits, or by one of another kind: `basis` holds the time, the charges, and their numbers."""

    __slots__ = ()

    def _compute(self) -> Sequence[Verdict]:
        now, charges, numbers = self.basis
        return _verdicts(charges, int(now), map(int, numbers), admitted=self.allowed)


class Denied(Allowed):
    """A denial, with the same `basis`."""

    __slots__ = ()
    allowed = False


def read_bucket(charges: Sequence[Charge], reply: Reply) -> BucketAllowed:
    """The decision of one token bucket; raises InvalidReply for what is none."""
    if type(reply) is bytes and len(reply) == _STATE.size:  # the state that was written
        decision = BucketAllowed()
        now, spent = _STATE.unpack(reply)
        decision.basis = now, charges[0], spent, 0, 0
        return decision
    if type(reply) is int:
        decision = BucketAllowed() if reply >= 0 else BucketDenied()
        decision.basis = 0, charges[0], reply, 0, 0
        return decision
    if type(reply) is bytes and len(reply) == _OF_BUCKET.size:
        now, spent, ahead, full = _OF_BUCKET.unpack(reply)
        decision = BucketAllowed() if spent >= 0 else BucketDenied()
        decision.basis = now, charges[0], spent, ahead, full
        return decision
    raise _invalid(reply)


def read_decision(charges: Sequence[Charge], reply: Reply) -> Allowed | int:
    """The decision of several limits, or of one that is no token bucket; raises InvalidReply for what is none."""
    decisions = read_decisions(charges, 1, reply)
    return decisions if isinstance(decisions, int) else decisions[0]


def read_buckets(charges: Sequence[Charge], number: int, reply: Reply) -> list[BucketAllowed]:
    """So many decisions of one token bucket each, all with such charges; raises InvalidReply for what is no such reply."""
    if number == 1:
        return [read_bucket(charges, reply)]
    numbers = _numbers(reply, 1 + _LENGTH * number)
    if numbers is None:
        raise _invalid(reply)
    charge, now = charges[0], numbers[0]
    found = []
    for at in range(1, len(numbers), _LENGTH):
        spent = numbers[at]
        decision = BucketAllowed() if spent >= 0 else BucketDenied()
        decision.basis = now, charge, spent, numbers[at + 1], numbers[at + 2]
        found.append(decision)
    return found


def read_decisions(charges: Sequence[Charge], number: int, reply: Reply) -> list[Allowed] | int:
    """So many decisions, all with such charges; raises InvalidReply for what is no such reply."""
    step = 1 + _LENGTH * len(charges)
    numbers = _numbers(reply, 1 + step * number)
    if numbers is None:
        return _other_window(charges, reply)
    now = numbers[0]
    found = []
    for at in range(1, len(numbers), step):
        decision = Allowed() if numbers[at] else Denied()
        decision.basis = now, charges, numbers[at + 1 : at + step]
        found.append(decision)
    return found


def check_reply(expected: Reply, reply: Reply) -> None:
    """Raise InvalidReply unless the reply is the expected one, or a number where a number is expected."""
    if reply != expected and not (type(reply) is type(expected) is int):
        raise InvalidReply(f"the server sent {reply!r:.60} instead of {expected!r}")


def _numbers(reply: Reply, length: int) -> tuple[float, ...] | None:
    """The numbers of a reply; None if there are not so many."""
    if type(reply) is not bytes or len(reply) != 8 * length:
        return None
    return _NUMBERS[length].unpack(reply) if length < len(_NUMBERS) else unpack(f"<{length}d", reply)


def _other_window(charges: Sequence[Charge], reply: Reply) -> int:
    """The server's time, which it replies if its clock is in another calendar window."""
    numbers = _numbers(reply, 1)
    if numbers is None or not any(isinstance(limit, FixedWindow) for _, limit, _ in charges):
        raise _invalid(reply)
    return -int(numbers[0])


def _invalid(reply: Reply) -> InvalidReply:
    return InvalidReply(f"the server sent {reply!r:.60} in reply to a decision")


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


def read_lines(reply: Reply) -> Sequence[str]:
    """The lines of a reply that is a text; raises InvalidReply for any other."""
    if not isinstance(reply, bytes | str):
        raise InvalidReply(f"expected a text, got {reply!r}")
    return (reply.decode("utf-8", "replace") if isinstance(reply, bytes) else reply).splitlines()
