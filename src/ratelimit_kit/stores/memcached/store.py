"""Counters in Memcached, changed by compare-and-set (see `conversations.py`).

Memcached offers no clock: hits are timed by this machine's wall clock, and time never runs backwards
for a key. Where the clocks of machines differ, a window may be too short by as much, unless `skew` covers it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ratelimit_kit.core.durations import MICROSECONDS
from ratelimit_kit.core.validation import known_options
from ratelimit_kit.errors import OptionError, StartupWarning, StoreError
from ratelimit_kit.stores import BaseStore, Charge, Scope, Verdicts
from ratelimit_kit.stores.denial_cache import forget
from ratelimit_kit.stores.keys import short_prefix
from ratelimit_kit.stores.memcached.checks import facts, warnings
from ratelimit_kit.stores.memcached.client import Client
from ratelimit_kit.stores.memcached.conversations import Clock, Conversations
from ratelimit_kit.stores.memcached.event_loop.clients import AsyncClient
from ratelimit_kit.stores.memcached.failures import Failures
from ratelimit_kit.stores.memcached.servers import Servers
from ratelimit_kit.stores.memcached.states import MAX_NUMBERS, States
from ratelimit_kit.stores.urls import read_url, taken_out

_log = logging.getLogger("ratelimit_kit")


class MemcachedStore(BaseStore):
    """Counters in one or several Memcached servers, shared by all processes that use them.

    `url` is `memcached://host:11211,host:11211` or `memcached:///path.sock`; rendezvous hashing assigns
    each key to one server. `timeout` is the deadline of a call in seconds, whatever it takes; `skew` is how
    far the clocks of the application's machines may differ, in seconds: sliding windows remember hits that
    much longer. `clock` (nanoseconds) replaces the wall clock in tests.
    """

    scope = Scope.SHARED
    max_numbers = MAX_NUMBERS
    blocking = True

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
                raise OptionError(f"{name} must be a number of seconds from {least:g} to 60, got {value!r}")
        self._failures = Failures(f"MemcachedStore({parsed.text()!r})", timeout)
        servers = Servers(parsed, self._failures)
        self._client = Client(servers, self._failures)
        self._aclient = AsyncClient(servers, self._failures, self._client)
        states = States(self._failures.name, short_prefix(prefix), round(skew * MICROSECONDS))
        self._clock = clock
        self._conversations = Conversations(states, clock or time.time_ns)
        self.denials_cacheable = clock is None

    def __repr__(self) -> str:
        return self._failures.name

    @property
    def elapsed_clock(self) -> Clock:
        """The clock that tells how old a decision is; a test's, if it has one."""
        return self._clock or super().elapsed_clock

    def decide(self, charges: Sequence[Charge]) -> Verdicts:
        """Admit all charges or leave nothing charged; one Verdict per charge, in order."""
        verdicts: Verdicts = self._client.run(self._conversations.decision(charges))
        return verdicts

    async def adecide(self, charges: Sequence[Charge]) -> Verdicts:
        """Do what `decide` does."""
        verdicts: Verdicts = await self._aclient.run(self._conversations.decision(charges))
        return verdicts

    def refund(self, charges: Sequence[Charge], charged_at: int | None = None) -> None:
        """Refund the costs of the hits made at `charged_at` (microseconds), or of the oldest if it is None."""
        self._client.run(self._conversations.refund(charges, charged_at))
        forget(charges, refunded=True)

    async def arefund(self, charges: Sequence[Charge], charged_at: int | None = None) -> None:
        """Do what `refund` does."""
        await self._aclient.run(self._conversations.refund(charges, charged_at))
        forget(charges, refunded=True)

    def reset(self, charges: Sequence[Charge]) -> None:
        """Forget everything about the charges' keys and limits."""
        self._client.run(self._conversations.reset(charges))
        forget(charges)

    async def areset(self, charges: Sequence[Charge]) -> None:
        """Do what `reset` does."""
        await self._aclient.run(self._conversations.reset(charges))
        forget(charges)

    def census(self, name: str, entry: str, seconds: float) -> Sequence[str]:
        """Write an entry of the census and read the others, by compare-and-set; see BaseStore."""
        entries: Sequence[str] = self._client.run(self._conversations.census(name, entry, seconds))
        return entries

    def ping(self) -> None:
        """Return if every server responds; raise StoreUnavailableError if one does not."""
        self._client.run(self._conversations.ask("version"))

    async def aping(self) -> None:
        """Do what `ping` does."""
        await self._aclient.run(self._conversations.ask("version"))

    def examine(self) -> Iterator[StartupWarning]:
        """Problems found with the servers; a proxy that does not pass `stats` on is no reason not to count."""
        stats = self._stats()
        if stats is None:
            _log.warning("%r counts, but does not answer stats: clocks and evictions were not checked", self)
            return iter(())
        return warnings(stats)

    def facts(self) -> dict[str, Any]:
        """Facts about the servers, for `doctor`; None for those that only `stats` would tell, if they do not answer it."""
        stats = self._stats()
        return dict.fromkeys(("evictions", "clock_offset")) if stats is None else facts(stats)

    def close(self) -> None:
        """Close the connections of the sync API; a later call opens new ones."""
        self._client.close()

    async def aclose(self) -> None:
        """Close the connections, and those of this event loop; a later call opens new ones."""
        await self._aclient.aclose()

    def _stats(self) -> Mapping[str, Mapping[str, str]] | None:
        try:
            found: Mapping[str, Mapping[str, str]] = self._client.run(self._conversations.ask("stats"))
        except StoreError:
            return None
        return found


def from_url(url: str) -> MemcachedStore:
    """The store that a `memcached://` URL names."""
    return MemcachedStore(url)
