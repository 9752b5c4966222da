"""The servers of a store as the tasks of one event loop see them.

A conversation is driven by the replies and not by a task, so that no caller who is cancelled can leave a turn held or a
reply unread. Tasks that want the same counter take turns, and whoever has the turn decides for those who wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from copy import copy
from time import monotonic
from typing import Any

from ratelimit_kit.errors import StoreError, StoreUnavailableError
from ratelimit_kit.stores.memcached.commands import Step, Wait
from ratelimit_kit.stores.memcached.conversations import Job
from ratelimit_kit.stores.memcached.event_loop.connection import LoopConnection, Pending
from ratelimit_kit.stores.memcached.failures import Call, Failures, is_silence
from ratelimit_kit.stores.memcached.protocol import InvalidReply
from ratelimit_kit.stores.memcached.servers import Servers
from ratelimit_kit.stores.memcached.turns import Turn, Turns, share, together


class LoopClient:
    """The connections of one event loop, and the turns of its tasks."""

    def __init__(self, servers: Servers, failures: Failures) -> None:
        self.servers = servers
        self.failures = failures
        self.turns = Turns()
        patience = failures.timeout / 2
        self.connections = {name: LoopConnection(name, one, patience) for name, one in servers.addresses.items()}

    async def run(self, job: Job) -> Any:
        """Do a job until the deadline, or let somebody else do it along with his; raises StoreError on any failure."""
        turn = LoopTurn(job, self)
        if self.turns.queue(turn):
            self.lead(turn)
        else:
            turn.expire_in_time()
        try:
            return await turn.outcome
        except asyncio.CancelledError:
            self.turns.withdraw(turn)
            raise
        finally:
            turn.stop_timer()

    async def aclose(self) -> None:
        """Close the connections; calls in progress end in an error."""
        self.abort(loop_closed=False)

    def abort(self, *, loop_closed: bool) -> None:
        """Do so at once; after the loop was closed there are no calls."""
        for connection in self.connections.values():
            if loop_closed:
                connection.abandon()
            else:
                connection.fail(ConnectionError("the store was closed"))

    def lead(self, turn: LoopTurn) -> None:
        """Do the job of a turn, and those of who waits for the same."""
        turn.stop_timer()
        if turn.outcome.done():  # cancelled
            self.turns.leave(turn.job.keys)
            return
        riders = [one for one in self.turns.take_along(turn.job) if not one.outcome.done()]  # type: ignore[attr-defined]
        Exchange(self, turn, riders).begin()


class LoopTurn(Turn):
    """The turn of a task, which waits for `outcome`."""

    __slots__ = ("_client", "call", "outcome", "timer")

    def __init__(self, job: Job, client: LoopClient) -> None:
        super().__init__(job)
        loop = asyncio.get_running_loop()
        self._client = client
        self.call = Call(client.failures.timeout)
        self.outcome: asyncio.Future[Any] = loop.create_future()
        self.timer: asyncio.TimerHandle | None = None

    def wake(self) -> None:
        """Tell the task the outcome, or lead."""
        if self.error is not None:
            self.settle(copy(self.error))
        elif self.result is not None:
            self.settle(self.result)
        else:
            asyncio.get_running_loop().call_soon(self._client.lead, self)

    def settle(self, outcome: Any) -> None:
        """Give the task a result or an error, unless it has been cancelled."""
        if self.outcome.done():
            return
        if isinstance(outcome, Exception):
            self.outcome.set_exception(outcome)
        else:
            self.outcome.set_result(outcome)

    def expire_in_time(self) -> None:
        """End the wait for the turn at the deadline, unless somebody is doing the job by then."""
        left = self.call.postponed()
        if left > 0:
            self.timer = asyncio.get_running_loop().call_later(left, self.expire_in_time)
        elif self._client.turns.withdraw(self):
            self.settle(self._client.failures.contended("others kept a counter busy"))

    def stop_timer(self) -> None:
        """Forget the deadline of the wait."""
        if self.timer is not None:
            self.timer.cancel()


class Exchange:
    """Carries out the conversation of a turn and its riders: each reply leads to the next step."""

    __slots__ = (
        "_call",
        "_client",
        "_conversation",
        "_keys",
        "_missing",
        "_replies",
        "_riders",
        "_step",
        "_timer",
        "_turn",
    )

    def __init__(self, client: LoopClient, turn: LoopTurn, riders: Sequence[Turn]) -> None:
        self._client = client
        self._turn = turn
        self._riders = riders
        self._call = turn.call
        self._conversation = together(turn.job, riders)
        self._step: Any = None
        self._keys: dict[str, Sequence[str]] = {}
        self._missing: dict[str, Pending] = {}
        self._replies: list[tuple[str, dict[str, Any]]] = []
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """Take the first step."""
        self._call.asked_at = monotonic()
        self._expire_in_time()
        self._go_on(None)

    def _go_on(self, answer: Any) -> None:
        """Give the conversation an answer or an error, and take the steps that follow."""
        try:
            while True:
                throws = isinstance(answer, Exception)
                step = self._conversation.throw(answer) if throws else self._conversation.send(answer)
                answer = self._do(step)
                if answer is None:
                    return
        except StopIteration as end:
            self._end(end.value)
        except Exception as error:  # noqa: BLE001 - a mistake, too, is for those who wait
            self._end(error)

    def _do(self, step: Step) -> Exception | None:
        """Begin a step; the error if there is no time for it."""
        loop = asyncio.get_running_loop()
        if isinstance(step, Wait):
            try:
                self._client.failures.pause(self._call, step.seconds)
            except StoreError as error:
                return error
            loop.call_later(step.seconds, self._resume)
            return None
        self._step, self._replies = step, []
        requests = self._client.servers.requests(step)
        self._keys = {one.server: one.keys for one in requests} if len(requests) > 1 else {}
        for server, data, reader, _ in requests:
            if self._call.left() <= 0:
                return self._failure(server, TimeoutError())
            self._missing[server] = Pending(data, reader, self._on_reply)
            self._client.connections[server].send(self._missing[server])
        return None

    def _resume(self) -> None:
        self._call.asked_at = monotonic()
        self._go_on(None)

    def _on_reply(self, server: str, reply: Any) -> None:
        if isinstance(reply, OSError | InvalidReply) and self._keys.get(server):  # others may have written
            reply = dict.fromkeys(self._keys[server], self._meaning(server, reply))
        if isinstance(reply, Exception):
            self._go_on(self._failure(server, reply))
            return
        del self._missing[server]
        self._replies.append((server, reply))
        if not self._missing:
            try:
                answer: Any = self._client.servers.answer(self._step, self._replies)
            except StoreError as error:
                answer = error
            self._go_on(answer)

    def _failure(self, server: str, error: Exception) -> Exception:
        """The error for a step that has failed at a server, for whose replies nobody waits any longer."""
        while self._missing:
            self._missing.popitem()[1].on_reply = None
        return self._meaning(server, error)

    def _meaning(self, server: str, error: Exception) -> Exception:
        """What the failure of a server means, as a store error if it is not a mistake."""
        failure = error
        if isinstance(error, InvalidReply):
            failure = self._client.failures.invalid(server, str(error))
        elif isinstance(error, OSError):
            failure = self._client.failures.failed(server, error, self._call)
        failure.__cause__ = error if failure is not error else error.__cause__
        return failure

    def _expire_in_time(self) -> None:
        """At the deadline, give up the replies that are missing; a server that has sent none is away."""
        left = self._call.postponed()
        if left > 0:
            self._timer = asyncio.get_running_loop().call_later(left, self._expire_in_time)
        elif self._missing:
            server = next(iter(self._missing))
            connection = self._client.connections[server]
            self._call.asked_at = max(self._call.asked_at, connection.answered_at)
            failure = self._failure(server, TimeoutError())
            self._go_on(failure)
            if isinstance(failure, StoreUnavailableError):
                connection.fail(ConnectionError(self._client.failures.silence))

    def _end(self, outcome: Any) -> None:
        if self._timer is not None:
            self._timer.cancel()
        keys, turns = self._turn.job.keys, self._client.turns
        if is_silence(outcome) and self._client.servers.share_fate(keys):
            turns.fail(keys, outcome)
        turns.leave(keys)
        self._turn.settle(share(outcome, self._riders))
