"""The conversations with Memcached for a decision, a refund or a reset: generators without I/O.

Memcached runs no logic of ours, so this process reads the states, decides, and writes each one only if it has
not been changed meanwhile; otherwise it reads again. If a later charge is denied, earlier ones are refunded. So a
concurrent request may be denied for a moment, but none is admitted beyond a limit. `client.py` carries out a
conversation: it executes each command that is yielded and sends back the result.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any

from ratelimit_kit.core.decision import Verdict
from ratelimit_kit.core.durations import MAX_SPAN, MICROSECONDS
from ratelimit_kit.core.limit import Limit, Peek, check_room
from ratelimit_kit.core.sliding_window import SlidingWindow
from ratelimit_kit.errors import StoreContendedError
from ratelimit_kit.stores import Charge, check_charges, check_refunds
from ratelimit_kit.stores.keys import counter_key, key_prefix
from ratelimit_kit.stores.memcached.commands import MAX_ATTEMPTS, Found, Read, Write, pause

Clock = Callable[[], int]
"""Returns nanoseconds since the epoch, like `time.time_ns`."""

Conversation = Generator[Any, Any, Any]

MAX_NUMBERS = 1_000_000 // 17
"""Numbers in a state: an item takes 1 MB with its key, and a number up to 16 digits and a space."""

MAX_LIMITS = 1024
"""Limits that are kept with what is counted by; there may be many if they depend on the request."""

MARGIN_SECONDS = 2
"""How much longer a state is kept than it matters: Memcached's own clock ticks once a second."""


class Conversations:
    """The conversations of one store; `name` is its name in errors, `skew` is in microseconds."""

    def __init__(self, name: str, prefix: str, skew: int, clock: Clock) -> None:
        self._name = name
        self._prefix = key_prefix(prefix)
        self._skew = skew
        self._clock = clock
        self._counted: dict[Limit, Limit] = {}

    def change_one(self, charge: Charge) -> tuple[str, Callable[[bytes], tuple[bytes, int] | None], list[Verdict]]:
        """One charge on an existing state: its key, the function that changes its value, and a list for the verdict.

        The function returns None to leave the value unchanged, if the charge does not fit.
        """
        limit = self._counting(charge.limit)
        found: list[Verdict] = []

        def change(value: bytes) -> tuple[bytes, int] | None:
            now, state = self._now(), _state(limit, value)
            after = limit.try_charge(state, now, charge.cost)
            peek = limit.peek(state, now, charge.cost) if after is None else limit.peek(after, now, 0)
            found[:] = [_verdict(charge, peek, now if after is None else limit.stamp(after, now))]
            after = _rewound(limit, state, now) if after is None else after
            return None if after is None else (_text(limit, after), self._seconds(limit.lifetime(after, now)))

        return self._key(charge), change, found

    def decide(self, charges: Sequence[Charge]) -> Conversation:
        """Admit all charges or leave nothing charged; one Verdict per charge, in order."""
        check_charges(charges)
        keys = [self._key(charge) for charge in charges]
        found = yield Read(keys)
        now = self._now()
        verdicts = [self._peek(charge, found.get(key), now) for charge, key in zip(charges, keys, strict=True)]
        if all(verdict.allowed for verdict in verdicts) and any(charge.cost for charge in charges):
            yield from self._charge_all(charges, keys, found, verdicts)
        else:
            yield from self._rewind(charges, keys, found, now)
        return verdicts

    def refund(self, charges: Sequence[Charge], charged_at: int | None) -> Conversation:
        """Refund the costs of the hits made at `charged_at` (microseconds), or of the oldest if it is None."""
        check_refunds(charges)
        for charge in charges:
            limit, key = self._counting(charge.limit), self._key(charge)
            for attempt in range(MAX_ATTEMPTS):
                found = (yield Read([key])).get(key)
                state = limit.refund(_found_state(limit, found), self._now(), charge.cost, charged_at)
                lifetime = 0 if state is None else limit.lifetime(state, self._now())
                if found is None or (yield Write(key, _text(limit, state), found, self._seconds(lifetime))):
                    break
                yield pause(attempt)
            else:
                raise self._contended("not given back")

    def reset(self, charges: Sequence[Charge]) -> Conversation:
        """Forget everything about the charges' keys and limits."""
        for charge in charges:
            yield Write(self._key(charge), None, None, 0)

    def _charge_all(
        self, charges: Sequence[Charge], keys: Sequence[str], found: Mapping[str, Found], verdicts: list[Verdict]
    ) -> Conversation:
        """Charge one after the other, with the results in `verdicts`; refund them if a later one no longer fits."""
        done: list[tuple[Charge, int]] = []
        for index, charge in enumerate(charges):
            if not charge.cost:
                continue
            try:
                verdict = verdicts[index] = yield from self._charge(charge, keys[index], found.get(keys[index]))
            except StoreContendedError:
                yield from self._give_back(done)
                raise
            if not verdict.allowed:
                yield from self._give_back(done)
                return
            done.append((charge, verdict.charged_at))

    def _give_back(self, done: Sequence[tuple[Charge, int]]) -> Conversation:
        for charge, charged_at in done:
            yield from self.refund([charge], charged_at)

    def _charge(self, charge: Charge, key: str, found: Found | None) -> Conversation:
        """Write one charge; return its Verdict, which is a denial if others have used up the rest meanwhile."""
        limit = self._counting(charge.limit)
        for attempt in range(MAX_ATTEMPTS):
            now, before = self._now(), _found_state(limit, found)
            state = limit.try_charge(before, now, charge.cost)
            if state is None:
                return _verdict(charge, limit.peek(before, now, charge.cost), now)
            peek = limit.peek(state, now, 0)
            if (yield Write(key, _text(limit, state), found, self._seconds(limit.lifetime(state, now)))):
                return _verdict(charge, peek, limit.stamp(state, now))
            yield pause(attempt)
            found = (yield Read([key])).get(key)
        raise self._contended("nothing was charged")

    def _rewind(
        self, charges: Sequence[Charge], keys: Sequence[str], found: Mapping[str, Found], now: int
    ) -> Conversation:
        """Write the states that the clock was set back behind; who is late finds them written by somebody else."""
        for charge, key in zip(charges, keys, strict=True):
            limit, before = self._counting(charge.limit), found.get(key)
            state = _rewound(limit, _found_state(limit, before), now)
            if state is not None:
                yield Write(key, _text(limit, state), before, self._seconds(limit.lifetime(state, now)))

    def _peek(self, charge: Charge, found: Found | None, now: int) -> Verdict:
        limit = self._counting(charge.limit)
        return _verdict(charge, limit.peek(_found_state(limit, found), now, charge.cost), now)

    def _contended(self, outcome: str) -> StoreContendedError:
        return StoreContendedError(f"{self._name}: a state changed {MAX_ATTEMPTS} times while it was read, {outcome}")

    def _counting(self, limit: Limit) -> Limit:
        """The limit to count by: a sliding window is extended by the skew of the clocks, and its log must have room."""
        if not isinstance(limit, SlidingWindow):
            return limit
        if limit not in self._counted:
            check_room([limit], MAX_NUMBERS, "Memcached")
            if len(self._counted) >= MAX_LIMITS:
                self._counted.clear()
            window = f"{min(limit.window + self._skew, MAX_SPAN)} us"
            self._counted[limit] = SlidingWindow(limit.limit, window, resolution=limit.resolution)
        return self._counted[limit]

    def _now(self) -> int:
        return self._clock() // 1000

    def _seconds(self, lifetime: int) -> int:
        return -(-(lifetime + self._skew) // MICROSECONDS) + MARGIN_SECONDS

    def _key(self, charge: Charge) -> str:
        return counter_key(self._prefix, charge.limit.counter, charge.key)


def _verdict(charge: Charge, peek: Peek, now: int) -> Verdict:
    return Verdict(peek.fits, charge.limit, peek.remaining, peek.wait, peek.reset, now)


def _state(limit: Limit, value: bytes) -> Any:
    """A state from its text: integers separated by spaces."""
    return limit.load([int(number) for number in value.split()])


def _rewound(limit: Limit, state: Any, now: int) -> Any:
    """The state to write after the clock was set back behind it; None if there is none."""
    rewound = None if state is None else limit.rewind(state, now)
    return None if rewound is state else rewound


def _found_state(limit: Limit, found: Found | None) -> Any:
    """The state that was found, or None; an empty text also means None."""
    return None if found is None or not found.value else _state(limit, found.value)


def _text(limit: Limit, state: Any) -> bytes:
    """The text of a state."""
    return b"" if state is None else " ".join(map(str, limit.dump(state))).encode()
