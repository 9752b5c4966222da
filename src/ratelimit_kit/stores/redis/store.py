"""Counters in Redis, decided in one script call on the server's own clock.

A charge is never sent twice unless the server has said that it ran nothing, such as NOSCRIPT: a call that
timed out may have been counted. See `client.py` for how the server is reached.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from time import monotonic_ns
from typing import Any, Final

from ratelimit_kit.core.sliding_window import SlidingWindow
from ratelimit_kit.core.validation import check_switch, known_options
from ratelimit_kit.errors import OptionError, StartupRefused, StartupWarning, StoreError, StoreUnavailableError
from ratelimit_kit.stores import Charge, Scope, Verdicts, check_refunds
from ratelimit_kit.stores.denial_cache import forget, forget_all
from ratelimit_kit.stores.keys import FORMAT, check_prefix, counter_key, key_prefix
from ratelimit_kit.stores.redis.calls.arguments import Arguments
from ratelimit_kit.stores.redis.calls.replies import TimedDecision, check_reply
from ratelimit_kit.stores.redis.calls.scripts import BY_SERVER, BY_TEST
from ratelimit_kit.stores.redis.calls.shapes import Shapes
from ratelimit_kit.stores.redis.census import CensusStore
from ratelimit_kit.stores.redis.checks import (
    client_findings,
    refuse_other,
    refuse_repeating,
    server_facts,
    server_findings,
    server_time,
)
from ratelimit_kit.stores.redis.client import AsyncClient, Client, is_cluster
from ratelimit_kit.stores.redis.cluster import Steps, acarry_out, by_slot, carry_out, deciding
from ratelimit_kit.stores.redis.driver import TIMEOUTS
from ratelimit_kit.stores.redis.failures import Failures
from ratelimit_kit.stores.redis.url import Address, read_address
from ratelimit_kit.stores.urls import read_url, taken_out

MAX_CALENDARS: Final = 3
"""How often a decision is asked for when the server's clock is in another calendar window than was thought."""

_SPECIAL: Final = re.compile(r"[\\*?\[\]]")
"""What has a meaning in Redis's patterns, unless a backslash stands before it."""


class RedisStore(CensusStore):
    """Counters in Redis (or a server with its protocol and Lua), shared by all processes that use it.

    `url` is `redis://`, `rediss://`, `unix://`, `redis+sentinel://` or `redis+cluster://`, optionally with
    `valkey` for `redis`; `timeout` is the deadline in seconds for connecting and for a call. Instead of a
    URL, `client` and `async_client` accept redis-py clients of your own, with their own timeouts and
    `retry=None`. Concurrent decisions of tasks on one event loop are batched, except with `batching=False`, a
    cluster or a client of your own. `clock` (nanoseconds) replaces the server's in tests.
    """

    scope = Scope.SHARED
    max_numbers = 2**29 // 16
    denials_cacheable = property(lambda self: self._clock is None, doc="A clock of a test may be set back.")
    elapsed_clock = property(lambda self: self._clock or monotonic_ns, doc="A test's clock, if there is one.")
    any_loop = property(lambda self: not self._given, doc="A client of one's own belongs to the application's loop.")
    async_flaw = property(lambda self: self._aclient.flaw, doc="Why the async API cannot count here: it has no client.")

    @known_options
    def __init__(
        self,
        url: str | None = None,
        *,
        client: Any = None,
        async_client: Any = None,
        timeout: float = 0.25,
        prefix: str = "rlk",
        batching: bool = True,
        clock: Callable[[], int] | None = None,
    ) -> None:
        address, timeout = _reach(url, [client, async_client], timeout)
        check_switch("batching", batching)
        self._prefix = key_prefix(check_prefix(prefix))
        deciding, self._refunding = BY_SERVER if clock is None else BY_TEST
        self._arguments = Arguments(clock)
        self._shapes = Shapes(deciding, self._prefix, self._arguments)
        self._given = [one for one in (client, async_client) if one is not None]
        self.clustered = address.kind == "cluster" if address else any(map(is_cluster, self._given))
        self._name = f"RedisStore({address.shown!r})" if address else "RedisStore(client=...)"
        failures = Failures(self._name, timeout, clustered=self.clustered, prefix=prefix)
        self._client = Client(address, client, failures)
        self._aclient = AsyncClient(address, async_client, failures, self._client, batching=batching)
        self._clock = clock

    def __repr__(self) -> str:
        return self._name

    def decide(self, charges: Sequence[Charge]) -> Verdicts:
        """Admit all charges or write nothing, in one script call.

        In a cluster, charges in several slots are decided slot by slot, with refunds on a denial.
        """
        if not charges:
            return []
        if self.clustered:
            return carry_out(deciding(charges, self._slots(charges)), self._steps)
        return self._decide(charges)

    async def adecide(self, charges: Sequence[Charge]) -> Verdicts:
        """Do what `decide` does, batched with other calls made in the same iteration of the event loop."""
        if not charges:
            return []
        if self.clustered:
            return await acarry_out(deciding(charges, self._slots(charges)), self._steps)
        batcher = self._aclient.batcher()
        if batcher is not None:
            return await batcher.decide(self._shapes.of(charges), charges)
        return await self._adecide(charges)

    def refund(self, charges: Sequence[Charge], charged_at: int | None = None) -> None:
        """Refund the costs of the hits made at `charged_at` (microseconds), or of the oldest if it is None."""
        for part in self._parts(charges):
            self._refund(part, charged_at)
        forget(charges, refunded=True)

    async def arefund(self, charges: Sequence[Charge], charged_at: int | None = None) -> None:
        """Do what `refund` does."""
        for part in self._parts(charges):
            await self._arefund(part, charged_at)
        forget(charges, refunded=True)

    def reset(self, charges: Sequence[Charge]) -> None:
        """Forget everything about the charges' keys and limits."""
        for part in self._parts(charges):
            self._client.command("DEL", *self._keys(part), expected=0)
        forget(charges)

    async def areset(self, charges: Sequence[Charge]) -> None:
        """Do what `reset` does."""
        for part in self._parts(charges):
            await self._aclient.command("DEL", *self._keys(part), expected=0)
        forget(charges)

    def clear(self) -> None:
        """Delete every key with this store's prefix, on every primary; not atomic, for tests."""
        self._client.call(partial(_delete_all, beginning=self._prefix.removesuffix(f"{FORMAT}:")), timed=False)
        forget_all()

    def ping(self) -> None:
        """Return if Redis responds, or decides without permitting PING; raise StoreUnavailableError if it does not."""
        try:
            self._client.command("PING", expected="PONG")
        except StoreUnavailableError as error:
            self._decide(_trial_after(error), peek=True)

    async def aping(self) -> None:
        """Do what `ping` does."""
        try:
            await self._aclient.command("PING", expected="PONG")
        except StoreUnavailableError as error:
            await self._adecide(_trial_after(error), peek=True)

    def examine(self) -> Iterator[StartupRefused | StartupWarning]:
        """Problems of the client or its server; raises StoreUnavailableError if Redis does not respond."""
        for client in self._given:
            yield from client_findings(repr(self), client)
        yield from server_findings(repr(self), self._client.call, partial(_server_time, self))

    def facts(self) -> dict[str, Any]:
        """Facts about the server, for `doctor`; raises StoreUnavailableError if it does not respond."""
        return server_facts(self._client.call, partial(_server_time, self))

    def close(self) -> None:
        """Close the connections, when no call is in progress; a later call opens new ones."""
        self._client.close()

    async def aclose(self) -> None:
        """Close this event loop's client; a later call opens a new one."""
        await self._aclient.aclose()

    def _decide(self, charges: Sequence[Charge], *, peek: bool = False) -> TimedDecision:
        """Decide in one script call."""
        shape = self._shapes.of(charges, peek=peek)
        for _ in range(MAX_CALENDARS):
            decision: TimedDecision | int = self._client.decide(shape, charges)
            if not isinstance(decision, int):
                return decision
            shape.follow(decision)
        raise self._lost_in_time()

    async def _adecide(self, charges: Sequence[Charge], *, peek: bool = False) -> TimedDecision:
        """Do what `_decide` does."""
        shape = self._shapes.of(charges, peek=peek)
        for _ in range(MAX_CALENDARS):
            decision: TimedDecision | int = await self._aclient.decide(shape, charges)
            if not isinstance(decision, int):
                return decision
            shape.follow(decision)
        raise self._lost_in_time()

    def _refund(self, charges: Sequence[Charge], charged_at: int | None) -> None:
        arguments = self._arguments.refund(charges, charged_at)
        self._client.run(self._refunding, self._keys(charges), arguments, _refunded)

    async def _arefund(self, charges: Sequence[Charge], charged_at: int | None) -> None:
        arguments = self._arguments.refund(charges, charged_at)
        await self._aclient.run(self._refunding, self._keys(charges), arguments, _refunded)

    def _lost_in_time(self) -> StoreError:
        return StoreUnavailableError(
            f"{self!r} said {MAX_CALENDARS} times in turn that its clock is in another calendar window: check that clock"
        )

    _steps = property(lambda self: Steps(self._decide, self._adecide, self._refund, self._arefund))

    def _slots(self, charges: Sequence[Charge]) -> list[list[Charge]]:
        return by_slot(charges, self._shapes.of(charges).keys(charges))

    def _parts(self, charges: Sequence[Charge]) -> list[Sequence[Charge]]:
        """What one call may refund or reset."""
        check_refunds(charges)
        return [*by_slot(charges, self._keys(charges))] if self.clustered else [charges] if charges else []

    def _keys(self, charges: Sequence[Charge]) -> list[str]:
        return [counter_key(self._prefix, limit.counter, key) for key, limit, _ in charges]


def _reach(url: str | None, clients: Sequence[Any], timeout: float) -> tuple[Address | None, float]:
    """The address a URL names (None if clients are given) and the deadline; raises OptionError for both or neither."""
    if (url is None) == all(client is None for client in clients):
        raise OptionError("RedisStore takes either a URL such as 'redis://127.0.0.1:6379/0' or clients")
    for client, asynchronous in zip(clients, (False, True), strict=True):
        if client is not None:
            refuse_other(client, asynchronous=asynchronous)
            refuse_repeating(client)
    address = None
    if url is not None:
        parsed, given = taken_out(read_url(url), ["timeout"])
        address, timeout = read_address(parsed.text()), given.get("timeout", timeout)
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not 0 < timeout <= 60:
        raise OptionError(f"timeout must be a number of seconds above 0, up to 60, got {timeout!r}")
    return address, timeout


_TRIAL = [Charge("trial", SlidingWindow(1, 1), 0)]
"""What shows that counting works, by the rights that counting needs."""

_refunded = partial(check_reply, 1)


def _trial_after(error: StoreUnavailableError) -> list[Charge]:
    """A decision that writes nothing, for a server that may only not permit a command; the error if it is silent."""
    if isinstance(error.__cause__, TIMEOUTS):
        raise error
    return _TRIAL


def _server_time(store: RedisStore) -> int:
    """The server's time (microseconds): by the command, or by a trial decision if that is not permitted."""
    try:
        return server_time(store._client.call)  # noqa: SLF001 - its own module
    except StoreUnavailableError as error:
        return store._decide(_trial_after(error), peek=True).time  # noqa: SLF001 - its own module


def _delete_all(client: Any, beginning: str) -> None:
    for key in list(client.scan_iter(match=_SPECIAL.sub(r"\\\g<0>", beginning) + "*", count=1000)):
        client.delete(key)


def from_url(url: str) -> RedisStore:
    """The store that a Redis URL names."""
    return RedisStore(url)
