"""State in Redis, decided by one script call on the server's own clock.

A charge is never sent twice unless the server has said that it ran nothing (NOSCRIPT): a call that
timed out may have been counted. `redis_client` knows how to reach the server.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any

from ratelimit_kit.core.decision import Decision, Verdict
from ratelimit_kit.core.validation import known_options
from ratelimit_kit.errors import OptionError, StartupRefused, StartupWarning, StoreError
from ratelimit_kit.stores import Charge, Scope, check_charges
from ratelimit_kit.stores.denial_cache import forget, forget_all
from ratelimit_kit.stores.keys import encode
from ratelimit_kit.stores.redis.checks import client_findings, refuse_repeating, server_facts, server_findings
from ratelimit_kit.stores.redis.client import Clients
from ratelimit_kit.stores.redis.cluster import Ask, Conversation, GiveBack, by_slot, deciding
from ratelimit_kit.stores.redis.replies import decisions, other_window
from ratelimit_kit.stores.redis.scripts import BY_SERVER, BY_TEST, Arguments
from ratelimit_kit.stores.urls import read_url, taken_out


class RedisStore:
    """Counters in Redis (or a server that speaks its protocol and Lua), shared by all who use it.

    `url` is `redis://`, `rediss://`, `unix://`, `redis+sentinel://` or `redis+cluster://`, with `valkey`
    for `redis` where that is nicer; `timeout` is the deadline in seconds for connecting and for a call.
    Instead of a URL, `client` and `async_client` take redis-py clients of your own, with their own time-outs
    and `retry=None`. Decisions that tasks of an event loop ask for at once travel together, unless
    `merge=False`, a cluster or a client of your own. `clock` (nanoseconds) replaces the server's in tests.
    """

    scope = Scope.SHARED

    @known_options
    def __init__(
        self,
        url: str | None = None,
        *,
        client: Any = None,
        async_client: Any = None,
        timeout: float = 0.25,
        prefix: str = "rlk",
        merge: bool = True,
        clock: Callable[[], int] | None = None,
    ) -> None:
        if (url is None) == (client is None and async_client is None):
            raise OptionError(
                "RedisStore takes a URL such as 'redis://127.0.0.1:6379/0', or clients, not both and not neither"
            )
        if url is not None:
            parsed, given = taken_out(read_url(url), ["timeout"])
            url, timeout = parsed.text(), given.get("timeout", timeout)
        if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not 0 < timeout <= 60:
            raise OptionError(f"timeout={timeout!r} is no deadline: give seconds above 0, up to 60")
        if not isinstance(merge, bool):
            raise OptionError(f"merge={merge!r} is neither True nor False")
        refuse_repeating(client)
        refuse_repeating(async_client)
        self._prefix = encode(prefix)
        self._arguments = Arguments(clock)
        self._deciding, self._refunding = BY_SERVER if clock is None else BY_TEST
        merging = (self._deciding, self._arguments) if merge else None
        self._clients = Clients(url, client, async_client, timeout, merging=merging)
        self.clustered = self._clients.clustered
        self.denials_hold = clock is None

    def __repr__(self) -> str:
        return str(self._clients)

    def decide(self, charges: Sequence[Charge]) -> Sequence[Verdict]:
        """Admit all charges or write nothing, in one script call; one Verdict per charge, in order.

        In a cluster, charges whose keys lie in several slots are decided slot by slot, with give-back.
        """
        if self.clustered:
            verdicts: Sequence[Verdict] = self._drive(deciding(charges, self._slots(charges)))
            return verdicts
        return self._decide(charges)[1].verdicts

    async def adecide(self, charges: Sequence[Charge]) -> Sequence[Verdict]:
        """Do what `decide` does."""
        if self.clustered:
            verdicts: Sequence[Verdict] = await self._adrive(deciding(charges, self._slots(charges)))
            return verdicts
        return (await self._adecide(charges))[1].verdicts

    def soon(self, charges: Sequence[Charge]) -> Awaitable[Sequence[Verdict] | Decision]:
        """What `adecide` answers, with as little around it as there can be."""
        merger = self._clients.merger()
        if merger is None or not charges:
            return self.adecide(charges)
        return merger.ask(charges, self._keys(charges))

    def refund(self, charges: Sequence[Charge], stamp: int | None = None) -> None:
        """Give costs back: of the hits made at `stamp` (microseconds), else of the oldest."""
        for part in self._slots(charges) if self.clustered else [charges]:
            self._refund(part, stamp)
        forget(charges, refunded=True)

    async def arefund(self, charges: Sequence[Charge], stamp: int | None = None) -> None:
        """Do what `refund` does."""
        for part in self._slots(charges) if self.clustered else [charges]:
            await self._arefund(part, stamp)
        forget(charges, refunded=True)

    def reset(self, charges: Sequence[Charge]) -> None:
        """Forget everything about the charges' keys and limits."""
        for part in self._slots(charges) if self.clustered else [charges]:
            self._delete(self._keys(part))
        forget(charges)

    async def areset(self, charges: Sequence[Charge]) -> None:
        """Do what `reset` does."""
        for part in self._slots(charges) if self.clustered else [charges]:
            await self._adelete(self._keys(part))
        forget(charges)

    def clear(self) -> None:
        """Delete every key with this store's prefix, on every primary: for tests, and never in one step."""
        self._clients.call(lambda client: _delete_all(client, f"{self._prefix}:*"))
        forget_all()

    def ping(self) -> None:
        """Return when Redis answers; raise StoreUnavailableError when it does not."""
        self._clients.call(lambda client: client.ping())

    async def aping(self) -> None:
        """Do what `ping` does."""
        await self._clients.acall(lambda client: client.ping())

    def examine(self) -> Iterator[StartupRefused | StartupWarning]:
        """What is wrong with this client or its server; raises StoreUnavailableError when Redis does not answer."""
        for client in self._clients.given:
            yield from client_findings(repr(self), client)
        yield from server_findings(repr(self), self._clients.call)

    def facts(self) -> dict[str, Any]:
        """What the server says of itself, for `doctor`; raises StoreUnavailableError when it does not answer."""
        return server_facts(self._clients.call)

    def close(self) -> None:
        """Close the connections, when no call is under way; a later call opens new ones."""
        self._clients.close()

    async def aclose(self) -> None:
        """Close this event loop's client; a later call opens a new one."""
        await self._clients.aclose()

    def _decide(self, charges: Sequence[Charge]) -> tuple[int, Decision]:
        """One script call: the server's time (microseconds) and the verdicts."""
        keys = self._keys(charges)
        if not keys:
            return 0, Decision([])
        answer = self._clients.run(self._deciding, keys, self._arguments.decide(charges))
        if (moment := other_window(answer)) is not None:
            self._arguments.learn_calendar(moment)
            answer = self._clients.run(self._deciding, keys, self._arguments.decide(charges))
        now, (decision,) = decisions(charges, answer)
        return now, decision

    async def _adecide(self, charges: Sequence[Charge]) -> tuple[int, Decision]:
        """Do what `_decide` does, together with others that ask in the same turn of the event loop."""
        keys = self._keys(charges)
        if not keys:
            return 0, Decision([])
        if (merger := self._clients.merger()) is not None:
            return 0, await merger.ask(charges, keys)
        answer = await self._clients.arun(self._deciding, keys, self._arguments.decide(charges))
        if (moment := other_window(answer)) is not None:
            self._arguments.learn_calendar(moment)
            answer = await self._clients.arun(self._deciding, keys, self._arguments.decide(charges))
        now, (decision,) = decisions(charges, answer)
        return now, decision

    def _refund(self, charges: Sequence[Charge], stamp: int | None) -> None:
        self._clients.run(self._refunding, self._keys(charges), self._arguments.refund(charges, stamp))

    async def _arefund(self, charges: Sequence[Charge], stamp: int | None) -> None:
        await self._clients.arun(self._refunding, self._keys(charges), self._arguments.refund(charges, stamp))

    def _delete(self, keys: Sequence[str]) -> None:
        self._clients.call(lambda client: client.delete(*keys))

    async def _adelete(self, keys: Sequence[str]) -> None:
        await self._clients.acall(lambda client: client.delete(*keys))

    def _drive(self, conversation: Conversation) -> Any:
        answer = None
        while True:
            try:
                step = conversation.send(answer)
            except StopIteration as end:
                return end.value
            try:
                answer = self._step(step)
            except StoreError as error:
                answer = error

    async def _adrive(self, conversation: Conversation) -> Any:
        answer = None
        while True:
            try:
                step = conversation.send(answer)
            except StopIteration as end:
                return end.value
            try:
                answer = await self._astep(step)
            except StoreError as error:
                answer = error

    def _step(self, step: Ask | GiveBack) -> Any:
        if isinstance(step, Ask):
            time, decision = self._decide(step.charges)
            return time, decision.verdicts
        return self._refund(step.charges, step.stamp)

    async def _astep(self, step: Ask | GiveBack) -> Any:
        if isinstance(step, Ask):
            time, decision = await self._adecide(step.charges)
            return time, decision.verdicts
        return await self._arefund(step.charges, step.stamp)

    def _slots(self, charges: Sequence[Charge]) -> list[list[Charge]]:
        check_charges(charges)
        return by_slot(charges, self._keys(charges))

    def _keys(self, charges: Sequence[Charge]) -> list[str]:
        if len(charges) == 1:
            key, limit, cost = charges[0]
            limit.check_cost(cost)
            return [f"{self._prefix}:{limit.id}:{{{encode(key)}}}"]
        check_charges(charges)
        return [f"{self._prefix}:{limit.id}:{{{encode(key)}}}" for key, limit, _ in charges]


def _delete_all(client: Any, pattern: str) -> None:
    for key in list(client.scan_iter(match=pattern, count=1000)):
        client.delete(key)


def from_url(url: str) -> RedisStore:
    """The store that a Redis URL names."""
    return RedisStore(url)
