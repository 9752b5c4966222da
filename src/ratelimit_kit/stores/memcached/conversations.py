"""What is said to Memcached for a decision, a refund or a reset: generators that know no socket.

Memcached decides nothing by itself, so this process reads the states, decides, and writes each one
only if nobody has written it meanwhile; otherwise it reads again. What a later charge refuses is
given back. A concurrent reader may therefore be refused for a moment, and none is admitted beyond
a limit. `client.py` carries a conversation out: it answers each command that is yielded.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any

from ratelimit_kit.core.decision import Verdict
from ratelimit_kit.core.durations import MICROSECONDS
from ratelimit_kit.core.limit import Limit, Peek
from ratelimit_kit.core.sliding_window import SlidingWindow
from ratelimit_kit.errors import StoreContendedError
from ratelimit_kit.stores import Charge, check_charges
from ratelimit_kit.stores.keys import encode
from ratelimit_kit.stores.memcached.commands import MAX_ATTEMPTS, Found, Read, Write, pause

Clock = Callable[[], int]
"""Nanoseconds of the epoch, like `time.time_ns`."""

Conversation = Generator[Any, Any, Any]

MARGIN_SECONDS = 2
"""By which a state outlives its use: Memcached's own clock ticks once a second."""


class Conversations:
    """The conversations of one store, which is called `name` in errors; `skew` is in microseconds."""

    def __init__(self, name: str, prefix: str, skew: int, clock: Clock) -> None:
        self._name = name
        self._prefix = prefix
        self._skew = skew
        self._clock = clock
        self._counted: dict[Limit, Limit] = {}

    def change_one(self, charge: Charge) -> tuple[str, Callable[[bytes], tuple[bytes, int] | None], list[Verdict]]:
        """One charge on a state that exists: its key, what to make of its value, and where the verdict will be.

        A value of which nothing is made is left as it is: the charge does not fit.
        """
        limit = self._counting(charge.limit)
        found: list[Verdict] = []

        def change(value: bytes) -> tuple[bytes, int] | None:
            now, state = self._now(), _state(limit, value)
            after = limit.try_charge(state, now, charge.cost)
            peek = limit.peek(state, now, charge.cost) if after is None else limit.peek(after, now, 0)
            found[:] = [_verdict(charge, peek, now)]
            return None if after is None else (_text(limit, after), self._seconds(peek.reset))

        return self._key(charge), change, found

    def decide(self, charges: Sequence[Charge]) -> Conversation:
        """Admit all charges or leave nothing written; one Verdict per charge, in order."""
        check_charges(charges)
        keys = [self._key(charge) for charge in charges]
        found = yield Read(keys)
        now = self._now()
        peeks = [self._peek(charge, found.get(key), now) for charge, key in zip(charges, keys, strict=True)]
        if all(peek.fits for peek in peeks):
            yield from self._charge_all(charges, keys, found, peeks)
        return [_verdict(charge, peek, now) for charge, peek in zip(charges, peeks, strict=True)]

    def refund(self, charges: Sequence[Charge], charged_at: int | None) -> Conversation:
        """Give costs back: of the hits made at `charged_at` (microseconds), else of the oldest."""
        for charge in charges:
            limit, key = self._counting(charge.limit), self._key(charge)
            for attempt in range(MAX_ATTEMPTS):
                found = (yield Read([key])).get(key)
                state = limit.refund(_found_state(limit, found), self._now(), charge.cost, charged_at)
                reset = 0 if state is None else limit.peek(state, self._now(), 0).reset
                if found is None or (yield Write(key, _text(limit, state), found, self._seconds(reset))):
                    break
                yield pause(attempt)
            else:
                raise self._contended("not given back")

    def reset(self, charges: Sequence[Charge]) -> Conversation:
        """Forget everything about the charges' keys and limits."""
        for charge in charges:
            yield Write(self._key(charge), None, None, 0)

    def _charge_all(
        self, charges: Sequence[Charge], keys: Sequence[str], found: Mapping[str, Found], peeks: list[Peek]
    ) -> Conversation:
        """Write one charge after the other into `peeks`, and give them back when a later one does not fit any more."""
        now = self._now()
        done: list[Charge] = []
        for index, charge in enumerate(charges):
            if not charge.cost:
                continue
            try:
                peeks[index] = yield from self._charge(charge, keys[index], found.get(keys[index]))
            except StoreContendedError:
                yield from self.refund(done, now)
                raise
            if not peeks[index].fits:
                yield from self.refund(done, now)
                return
            done.append(charge)

    def _charge(self, charge: Charge, key: str, found: Found | None) -> Conversation:
        """Write one charge; a peek that does not fit when others have used up what was left."""
        limit = self._counting(charge.limit)
        for attempt in range(MAX_ATTEMPTS):
            now, before = self._now(), _found_state(limit, found)
            state = limit.try_charge(before, now, charge.cost)
            if state is None:
                return limit.peek(before, now, charge.cost)
            peek = limit.peek(state, now, 0)
            if (yield Write(key, _text(limit, state), found, self._seconds(peek.reset))):
                return peek
            yield pause(attempt)
            found = (yield Read([key])).get(key)
        raise self._contended("nothing was charged")

    def _peek(self, charge: Charge, found: Found | None, now: int) -> Peek:
        limit = self._counting(charge.limit)
        return limit.peek(_found_state(limit, found), now, charge.cost)

    def _contended(self, outcome: str) -> StoreContendedError:
        return StoreContendedError(f"{self._name}: a state changed {MAX_ATTEMPTS} times while it was read, {outcome}")

    def _counting(self, limit: Limit) -> Limit:
        """The limit that is counted: a sliding window that is longer by the skew of the clocks."""
        if not self._skew or not isinstance(limit, SlidingWindow):
            return limit
        if limit not in self._counted:
            seconds = (limit.window + self._skew) / MICROSECONDS
            self._counted[limit] = SlidingWindow(limit.limit, seconds, resolution=limit.resolution)
        return self._counted[limit]

    def _now(self) -> int:
        return self._clock() // 1000

    def _seconds(self, reset: int) -> int:
        return -(-(reset + self._skew) // MICROSECONDS) + MARGIN_SECONDS

    def _key(self, charge: Charge) -> str:
        return f"{self._prefix}:{charge.limit.id}:{{{encode(charge.key)}}}"


def _verdict(charge: Charge, peek: Peek, now: int) -> Verdict:
    return Verdict(peek.fits, charge.limit, peek.remaining, peek.wait, peek.reset, now)


def _state(limit: Limit, value: bytes) -> Any:
    """A state from its text: whole numbers with blanks between."""
    return limit.load([int(number) for number in value.split()])


def _found_state(limit: Limit, found: Found | None) -> Any:
    """A state that was found; an empty text stands for none."""
    return None if found is None or not found.value else _state(limit, found.value)


def _text(limit: Limit, state: Any) -> bytes:
    """The text of a state."""
    return b"" if state is None else " ".join(map(str, limit.dump(state))).encode()
