"""The conversations with Memcached for a decision, a refund or a reset: generators without I/O.

Memcached runs no logic of ours, so this process reads the states, decides, and writes each one only if it has
not been changed meanwhile; otherwise it reads again. If a later charge is denied, earlier ones are refunded. So a
concurrent request may be denied for a moment, but none is admitted beyond a limit. `client.py` and `event_loop/client.py`
carry out a conversation: they execute each step that is yielded and send back its result, or throw the StoreError it ended in.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from functools import partial
from itertools import count
from typing import Any, NamedTuple

from ratelimit_kit.core.decision import Decision, LazyDecision, Verdict
from ratelimit_kit.core.durations import MICROSECONDS
from ratelimit_kit.core.limit import Limit, Peek
from ratelimit_kit.errors import StoreError
from ratelimit_kit.stores import Charge, census, check_charges, check_refunds
from ratelimit_kit.stores.memcached.commands import Ask, Found, Read, Refused, Write, Writes, pause
from ratelimit_kit.stores.memcached.states import MARGIN_SECONDS, States

Clock = Callable[[], int]
"""Returns nanoseconds since the epoch, like `time.time_ns`."""

Conversation = Generator[Any, Any, Any]


class HitAllowed(LazyDecision):
    """An admission of a single charge: `basis` holds the charge, the limit that counted it, its state then, and the time."""

    __slots__ = ()

    def _compute(self) -> Sequence[Verdict]:
        charge, limit, state, now = self.basis
        return [_verdict(charge, limit.peek(state, now, 0), limit.stamp(state, now))]


class HitDenied(HitAllowed):
    """A denial, with the same `basis`."""

    __slots__ = ()
    allowed = False

    def _compute(self) -> Sequence[Verdict]:
        charge, limit, state, now = self.basis
        return [_verdict(charge, limit.peek(state, now, charge.cost), now)]


Hit = tuple[Write | None, Decision]
"""What a single charge writes (None if it is denied), and the decision if that is written."""


class Job(NamedTuple):
    """What a caller wants: `conversation` makes its exchange with the servers, for which it needs the turns of `keys`.

    With a `charge`, the conversation decides that and those of others on the same key; otherwise it is given no charges.
    `hit` decides the charge alone, by what was found under its key; None if that takes the conversation.
    """

    keys: Sequence[str]
    conversation: Callable[[Sequence[Charge]], Conversation]
    charge: Charge | None = None
    hit: Callable[[Any], Hit | None] | None = None


class Conversations:
    """The conversations of one store, whose `clock` says what time it is."""

    def __init__(self, states: States, clock: Clock) -> None:
        self._states = states
        self._clock = clock

    def decision(self, charges: Sequence[Charge]) -> Job:
        """Admit all charges or leave nothing charged; the result is one Verdict per charge, in order.

        What can never be decided is an error here, before others who wait for the same key could hear of it.
        """
        if len(charges) == 1:
            charge = charges[0]
            charge.limit.check_cost(charge.cost)
            limit, key = self._states.counting(charge.limit), self._states.key(charge)
            hit = partial(self._hit, charge, limit, key) if charge.cost else None
            return Job([key], self._decide_together, charge, hit)
        check_charges(charges)
        for charge in charges:
            self._states.counting(charge.limit)
        keys = [self._states.key(charge) for charge in charges]
        return Job(sorted(keys), lambda _: self._decide(charges, keys))

    def refund(self, charges: Sequence[Charge], charged_at: int | None) -> Job:
        """Refund the costs of the hits made at `charged_at` (microseconds), or of the oldest if it is None."""
        check_refunds(charges)
        return Job(sorted(map(self._states.key, charges)), lambda _: self._refund(charges, charged_at))

    def reset(self, charges: Sequence[Charge]) -> Job:
        """Forget everything about the charges' keys and limits."""
        keys = sorted({self._states.key(charge) for charge in charges})
        return Job(keys, lambda _: self._reset(keys))

    def census(self, name: str, entry: str, seconds: float) -> Job:
        """Write an entry of the census; the result is the entries that last. See BaseStore."""
        key = self._states.key_of("census", name)
        return Job([key], lambda _: _census(key, entry, seconds, self._now))

    def ask(self, command: str) -> Job:
        """Ask every server for its `version` or `stats`; the result is what each reports, by its name."""
        return Job([], lambda _: _ask(command))

    def _hit(self, charge: Charge, limit: Limit, key: str, found: Any) -> Hit | None:
        if isinstance(found, Refused):
            return None
        now, before = self._now(), self._states.load(limit, found)
        after = limit.try_charge(before, now, charge.cost)
        if after is not None:
            admitted = HitAllowed()
            admitted.basis = charge, limit, after, now
            return self._states.write(key, limit, after, found, limit.lifetime(after, now)), admitted
        if _rewound(limit, before, now) is not None:
            return None
        denied = HitDenied()
        denied.basis = charge, limit, before, now
        return None, denied

    def _decide(self, charges: Sequence[Charge], keys: Sequence[str]) -> Conversation:
        found = (yield Read(keys)) if keys else {}
        now = self._now()
        states = [self._states.load(charge.limit, found.get(key)) for charge, key in zip(charges, keys, strict=True)]
        verdicts = [self._peek(charge, state, now) for charge, state in zip(charges, states, strict=True)]
        if all(verdict.allowed for verdict in verdicts) and any(charge.cost for charge in charges):
            yield from self._charge_all(charges, keys, found, verdicts)
        else:
            yield from self._rewind(charges, keys, found, now)
        return verdicts

    def _decide_together(self, charges: Sequence[Charge]) -> Conversation:
        """Decide charges on one counter one after the other, each by itself; one Verdict per charge, in order."""
        key = self._states.key(charges[0])
        for attempt in count():
            found = (yield Read([key])).get(key)
            before = state = self._states.load(charges[0].limit, found)
            now, verdicts, lifetime = self._now(), [], 0
            for charge in charges:
                limit = self._states.counting(charge.limit)
                after = limit.try_charge(state, now, charge.cost) if charge.cost else None
                if after is None:
                    verdicts.append(_verdict(charge, limit.peek(state, now, charge.cost), now))
                    after = _rewound(limit, state, now)
                else:
                    verdicts.append(_verdict(charge, limit.peek(after, now, 0), limit.stamp(after, now)))
                if after is not None:
                    state = after
                    lifetime = max(lifetime, limit.lifetime(state, now))
            if state is before or (yield from self._written(key, limit, state, found, lifetime)):
                return verdicts
            yield pause(attempt)
        raise AssertionError  # count() never ends

    def _refund(self, charges: Sequence[Charge], charged_at: int | None) -> Conversation:
        for charge in charges:
            limit, key = self._states.counting(charge.limit), self._states.key(charge)
            for attempt in count():
                found = (yield Read([key])).get(key)
                now = self._now()
                state = limit.refund(self._states.load(limit, found), now, charge.cost, charged_at)
                lifetime = 0 if state is None else limit.lifetime(state, now)
                if found is None or (yield from self._written(key, limit, state, found, lifetime)):
                    break
                yield pause(attempt)

    def _reset(self, keys: Sequence[str]) -> Conversation:
        outcomes = (yield Writes([Write(key, None, None, 0) for key in keys])) if keys else {}
        for outcome in outcomes.values():
            _raised(outcome)

    def _charge_all(
        self, charges: Sequence[Charge], keys: Sequence[str], found: Mapping[str, Found], verdicts: list[Verdict]
    ) -> Conversation:
        """Write all charges at once, with the results in `verdicts`; refund them if one of them no longer fits."""
        now, writes = self._now(), {}
        for index, (charge, key) in enumerate(zip(charges, keys, strict=True)):
            limit, before = self._states.counting(charge.limit), found.get(key)
            state = limit.try_charge(self._states.load(limit, before), now, charge.cost) if charge.cost else None
            if state is not None:
                verdicts[index] = _verdict(charge, limit.peek(state, now, 0), limit.stamp(state, now))
                writes[index] = self._states.write(key, limit, state, before, limit.lifetime(state, now))
        outcomes = (yield Writes(list(writes.values()))) if writes else {}
        done = [index for index in writes if outcomes[keys[index]] is True]
        try:
            for index in writes:
                if not _raised(outcomes[keys[index]]):
                    (verdicts[index],) = yield from self._decide_together([charges[index]])
                    if not verdicts[index].allowed:
                        break
                    done.append(index)
            else:
                return
        except StoreError:
            yield from self._give_back(charges, verdicts, done)
            raise
        yield from self._give_back(charges, verdicts, done)

    def _give_back(self, charges: Sequence[Charge], verdicts: Sequence[Verdict], done: Sequence[int]) -> Conversation:
        for index in done:
            yield from self._refund([charges[index]], verdicts[index].charged_at)

    def _rewind(
        self, charges: Sequence[Charge], keys: Sequence[str], found: Mapping[str, Found], now: int
    ) -> Conversation:
        """Write the states that the clock was set back behind; who is late finds them written by somebody else."""
        for charge, key in zip(charges, keys, strict=True):
            limit, before = self._states.counting(charge.limit), found.get(key)
            state = _rewound(limit, self._states.load(limit, before), now)
            if state is not None:
                yield from self._written(key, limit, state, before, limit.lifetime(state, now))

    def _written(self, key: str, limit: Limit, state: Any, found: Found | None, lifetime: int) -> Conversation:
        """Write one state; whether nobody had changed it meanwhile."""
        outcomes = yield Writes([self._states.write(key, limit, state, found, lifetime)])
        return _raised(outcomes[key])

    def _peek(self, charge: Charge, state: Any, now: int) -> Verdict:
        return _verdict(charge, self._states.counting(charge.limit).peek(state, now, charge.cost), now)

    def _now(self) -> int:
        return self._clock() // 1000


def _verdict(charge: Charge, peek: Peek, now: int) -> Verdict:
    fits, remaining, wait, reset = peek
    return Verdict(fits, charge.limit, remaining, wait, reset, now)


def _raised(outcome: Any) -> bool:
    """Whether a write was made; raises what the server has refused it with."""
    if isinstance(outcome, StoreError):
        raise outcome
    return outcome is True


def _census(key: str, entry: str, seconds: float, clock: Callable[[], int]) -> Conversation:
    for attempt in count():
        found, now = (yield Read([key])).get(key), clock()
        lasting = census.read(found.value if isinstance(found, Found) else b"", now)
        if not entry:
            break
        value = census.written(lasting, entry, now + round(seconds * MICROSECONDS) if seconds else None)
        outcomes = yield Writes([Write(key, value, found, census.lifetime(lasting, now) + MARGIN_SECONDS)])
        if _raised(outcomes[key]):
            break
        yield pause(attempt)
    return list(lasting)


def _ask(command: str) -> Conversation:
    return (yield Ask(command))


def _rewound(limit: Limit, state: Any, now: int) -> Any:
    """The state to write after the clock was set back behind it; None if there is none."""
    rewound = None if state is None else limit.rewind(state, now)
    return None if rewound is state else rewound
