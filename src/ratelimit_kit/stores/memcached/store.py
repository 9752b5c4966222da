"""State in Memcached, changed by compare-and-set.

Memcached decides nothing by itself, so this process reads the states, decides, and writes each one
only if nobody has written it meanwhile; otherwise it reads again. What a later charge refuses is
given back. A concurrent reader may therefore be refused for a moment, and none is admitted beyond
a limit. The conversation is a generator that knows no socket: `memcached_client` carries it out.

Memcached has no clock for us: hits are timed by this machine's wall clock, which never runs
backwards for a key. Where machines' clocks differ by `skew`, a window may be short by as much.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import Any

from ratelimit_kit.core.decision import MICROSECONDS, Look, Verdict
from ratelimit_kit.core.limits import Limit, SlidingWindow
from ratelimit_kit.core.validation import known_options
from ratelimit_kit.errors import OptionError, StartupWarning, StoreContendedError
from ratelimit_kit.stores import Charge, Scope, check_charges
from ratelimit_kit.stores.denial_cache import forget
from ratelimit_kit.stores.keys import encode, short_prefix
from ratelimit_kit.stores.memcached.client import Servers
from ratelimit_kit.stores.memcached.commands import ATTEMPTS, Found, Read, Write, pause
from ratelimit_kit.stores.memcached.states import found_state, state_of, text_of
from ratelimit_kit.stores.urls import read_url, taken_out

Clock = Callable[[], int]
"""Nanoseconds of the epoch, like `time.time_ns`."""

MARGIN = 2
"""Seconds by which a state outlives its use: Memcached's own clock ticks once a second."""

Conversation = Generator[Any, Any, Any]


class MemcachedStore:
    """Counters in one or several Memcached servers, shared by all who use them.

    `url` is `memcached://host:11211,host:11211` or `memcached:///path.sock`; a key belongs to one
    of the servers, by rendezvous hashing. `timeout` is the deadline in seconds for connecting and for
    an answer; `skew` is how far the clocks of the application's machines may differ, in seconds:
    sliding windows remember hits that much longer. `clock` (nanoseconds) replaces the wall clock in tests.
    """

    scope = Scope.SHARED

    @known_options
    def __init__(
        self,
        url: str = "memcached://127.0.0.1:11211",
        *,
        timeout: float = 0.25,
        skew: float = 0.0,
        prefix: str = "rlk",
        clock: Clock | None = None,
    ) -> None:
        parsed, given = taken_out(read_url(url), ["timeout", "skew"])
        timeout, skew = given.get("timeout", timeout), given.get("skew", skew)
        for name, value, least in (("timeout", timeout, 0.001), ("skew", skew, 0.0)):
            if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= 60:
                raise OptionError(f"{name}={value!r} is no number of seconds from {least:g} to 60")
        self._servers = Servers(parsed, timeout)
        self._skew = round(skew * MICROSECONDS)
        self._prefix = short_prefix(prefix)
        self._clock = clock or time.time_ns
        self.denials_hold = clock is None
        self._counted: dict[Limit, Limit] = {}

    def __repr__(self) -> str:
        return str(self._servers)

    def decide(self, charges: Sequence[Charge]) -> Sequence[Verdict]:
        """Admit all charges or leave nothing written; one Verdict per charge, in order."""
        if len(charges) == 1 and (verdict := self._decide_one(charges[0])) is not None:
            return [verdict]
        verdicts: Sequence[Verdict] = self._servers.carry_out(self._deciding(charges))
        return verdicts

    async def adecide(self, charges: Sequence[Charge]) -> Sequence[Verdict]:
        """Do what `decide` does."""
        verdicts: Sequence[Verdict] = await self._servers.in_thread(self.decide, charges)
        return verdicts

    def refund(self, charges: Sequence[Charge], stamp: int | None = None) -> None:
        """Give costs back: of the hits made at `stamp` (microseconds), else of the oldest."""
        self._servers.carry_out(self._refunding(charges, stamp))
        forget(charges, refunded=True)

    async def arefund(self, charges: Sequence[Charge], stamp: int | None = None) -> None:
        """Do what `refund` does."""
        await self._servers.acarry_out(self._refunding(charges, stamp))
        forget(charges, refunded=True)

    def reset(self, charges: Sequence[Charge]) -> None:
        """Forget everything about the charges' keys and limits."""
        self._servers.carry_out(self._resetting(charges))
        forget(charges)

    async def areset(self, charges: Sequence[Charge]) -> None:
        """Do what `reset` does."""
        await self._servers.acarry_out(self._resetting(charges))
        forget(charges)

    def ping(self) -> None:
        """Return when every server answers; raise StoreUnavailableError when one does not."""
        self._servers.ping()

    async def aping(self) -> None:
        """Do what `ping` does."""
        await self._servers.aping()

    def examine(self) -> Iterator[StartupWarning]:
        """What is wrong with the servers; raises StoreUnavailableError when one does not answer."""
        return self._servers.examine()

    def facts(self) -> dict[str, Any]:
        """What the servers say of themselves, for `doctor`; raises StoreUnavailableError when one does not answer."""
        return self._servers.facts()

    def close(self) -> None:
        """Close the connections; a later call opens new ones."""
        self._servers.close()

    async def aclose(self) -> None:
        """Do what `close` does."""
        self._servers.close()

    def _decide_one(self, charge: Charge) -> Verdict | None:
        """One charge on a state that exists, by one read and one write; None where that does not do, and charges nothing."""
        limit = self._counting(charge.limit)
        limit.check_cost(charge.cost)
        if not charge.cost:
            return None
        key, now, look = self._key(charge), 0, None

        def change(value: bytes) -> tuple[bytes, int] | None:
            nonlocal now, look
            now, state = self._now(), state_of(limit, value)
            after = limit.take(limit.fold(state), now, charge.cost)
            if after is None:
                look = limit.look(state, now, charge.cost)
                return None
            state = limit.unfold(after)
            look = limit.look(state, now, 0)
            return text_of(state), self._seconds(look.reset)

        if not self._servers.change(key, change) or look is None:
            return None
        return Verdict(look.fits, charge.limit, look.remaining, look.wait, look.reset, now)

    def _deciding(self, charges: Sequence[Charge]) -> Conversation:
        check_charges(charges)
        keys = [self._key(charge) for charge in charges]
        found = yield Read(keys)
        now = self._now()
        looks = [self._look(charge, found.get(key), now) for charge, key in zip(charges, keys, strict=True)]
        if all(look.fits for look in looks):
            yield from self._charging_all(charges, keys, found, looks)
        return [
            Verdict(look.fits, charge.limit, look.remaining, look.wait, look.reset, now)
            for charge, look in zip(charges, looks, strict=True)
        ]

    def _charging_all(
        self, charges: Sequence[Charge], keys: Sequence[str], found: Mapping[str, Found], looks: list[Look]
    ) -> Conversation:
        """Write one charge after the other into `looks`, and give them back when a later one does not fit any more."""
        now = self._now()
        done: list[Charge] = []
        for index, charge in enumerate(charges):
            if not charge.cost:
                continue
            try:
                looks[index] = yield from self._charging(charge, keys[index], found.get(keys[index]))
            except StoreContendedError:
                yield from self._refunding(done, now)
                raise
            if not looks[index].fits:
                yield from self._refunding(done, now)
                return
            done.append(charge)

    def _charging(self, charge: Charge, key: str, found: Found | None) -> Conversation:
        """Write one charge; a look that does not fit when others have used up what was left."""
        limit = self._counting(charge.limit)
        for attempt in range(ATTEMPTS):
            now = self._now()
            before = found_state(limit, found)
            if before is None:
                state = limit.charge(None, now, charge.cost)
            elif (taken := limit.take(limit.fold(before), now, charge.cost)) is None:
                return limit.look(before, now, charge.cost)
            else:
                state = limit.unfold(taken)
            look = limit.look(state, now, 0)
            if (yield Write(key, text_of(state), found, self._seconds(look.reset))):
                return look
            yield pause(attempt)
            found = (yield Read([key])).get(key)
        raise StoreContendedError(f"{self!r}: a state changed {ATTEMPTS} times while it was read, nothing was charged")

    def _refunding(self, charges: Sequence[Charge], stamp: int | None) -> Conversation:
        for charge in charges:
            limit, key = self._counting(charge.limit), self._key(charge)
            for attempt in range(ATTEMPTS):
                found = (yield Read([key])).get(key)
                state = limit.refund(found_state(limit, found), self._now(), charge.cost, stamp)
                reset = 0 if state is None else limit.look(state, self._now(), 0).reset
                if found is None or (yield Write(key, text_of(state), found, self._seconds(reset))):
                    break
                yield pause(attempt)
            else:
                raise StoreContendedError(
                    f"{self!r}: a state changed {ATTEMPTS} times while it was read, not given back"
                )

    def _resetting(self, charges: Sequence[Charge]) -> Conversation:
        for charge in charges:
            yield Write(self._key(charge), None, None, 0)

    def _look(self, charge: Charge, found: Found | None, now: int) -> Look:
        limit = self._counting(charge.limit)
        look: Look = limit.look(found_state(limit, found), now, charge.cost)
        return look

    def _counting(self, limit: Limit) -> Any:
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
        return -(-(reset + self._skew) // MICROSECONDS) + MARGIN

    def _key(self, charge: Charge) -> str:
        return f"{self._prefix}:{charge.limit.id}:{{{encode(charge.key)}}}"


def from_url(url: str) -> MemcachedStore:
    """The store that a `memcached://` URL names."""
    return MemcachedStore(url)
