"""Counters in Memcached, changed by compare-and-set (see `conversations.py`).

Memcached offers no clock: hits are timed by this machine's wall clock, and time never runs backwards
for a key. Where the clocks of machines differ, a window may be too short by as much, unless `skew` covers it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ratelimit_kit.core.decision import Verdict
from ratelimit_kit.core.durations import MICROSECONDS
from ratelimit_kit.core.validation import known_options
from ratelimit_kit.errors import OptionError, StartupWarning
from ratelimit_kit.stores import BaseStore, Charge, Scope
from ratelimit_kit.stores.denial_cache import forget
from ratelimit_kit.stores.keys import short_prefix
from ratelimit_kit.stores.memcached.client import Servers
from ratelimit_kit.stores.memcached.conversations import MAX_NUMBERS, Clock, Conversations
from ratelimit_kit.stores.urls import read_url, taken_out


class MemcachedStore(BaseStore):
    """Counters in one or several Memcached servers, shared by all processes that use them.

    `url` is `memcached://host:11211,host:11211` or `memcached:///path.sock`; rendezvous hashing assigns
    each key to one server. `timeout` is the deadline in seconds for connecting and for a reply; `skew` is how
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
        self._servers = Servers(parsed, timeout)
        self._conversations = Conversations(
            str(self._servers), short_prefix(prefix), round(skew * MICROSECONDS), clock or time.time_ns
        )
        self.denials_cacheable = clock is None

    def __repr__(self) -> str:
        return str(self._servers)

    def decide(self, charges: Sequence[Charge]) -> Sequence[Verdict]:
        """Admit all charges or leave nothing charged; one Verdict per charge, in order."""
        if len(charges) == 1 and charges[0].cost:
            charges[0].limit.check_cost(charges[0].cost)
            key, change, found = self._conversations.change_one(charges[0])
            if self._servers.change(key, change) and found:
                return found
        verdicts: Sequence[Verdict] = self._servers.carry_out(self._conversations.decide(charges))
        return verdicts

    def refund(self, charges: Sequence[Charge], charged_at: int | None = None) -> None:
        """Refund the costs of the hits made at `charged_at` (microseconds), or of the oldest if it is None."""
        self._servers.carry_out(self._conversations.refund(charges, charged_at))
        forget(charges, refunded=True)

    def reset(self, charges: Sequence[Charge]) -> None:
        """Forget everything about the charges' keys and limits."""
        self._servers.carry_out(self._conversations.reset(charges))
        forget(charges)

    def ping(self) -> None:
        """Return if every server responds; raise StoreUnavailableError if one does not."""
        self._servers.ping()

    def examine(self) -> Iterator[StartupWarning]:
        """Problems found with the servers; raises StoreUnavailableError if one does not respond."""
        return self._servers.examine()

    def facts(self) -> dict[str, Any]:
        """Facts about the servers, for `doctor`; raises StoreUnavailableError if one does not respond."""
        return self._servers.facts()

    def close(self) -> None:
        """Close the connections; a later call opens new ones."""
        self._servers.close()

    async def in_thread(self, work: Callable[..., Any], *arguments: Any) -> Any:
        """Run blocking work in one of this store's own threads: as many as it has connections."""
        return await self._servers.in_thread(work, *arguments)


def from_url(url: str) -> MemcachedStore:
    """The store that a `memcached://` URL names."""
    return MemcachedStore(url)
