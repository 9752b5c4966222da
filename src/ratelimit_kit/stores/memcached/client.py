"""The sync API's way to the servers: a conversation is carried out by the thread that asks for it.

Threads that want the same counter take turns, and whoever has the turn decides for those who wait (see `turns.py`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from copy import copy
from functools import partial
from typing import Any

from ratelimit_kit.core.decision import Decision
from ratelimit_kit.core.fork import each_in_forked_child
from ratelimit_kit.errors import StoreError, StoreUnavailableError
from ratelimit_kit.stores.memcached.commands import Ask, Read, Wait, Writes
from ratelimit_kit.stores.memcached.connection import Connection, MemcachedConnections
from ratelimit_kit.stores.memcached.conversations import Conversation, Job
from ratelimit_kit.stores.memcached.failures import Call, Failures, is_silence
from ratelimit_kit.stores.memcached.protocol import STORED, InvalidReply, gets, quick_value, store, stored
from ratelimit_kit.stores.memcached.servers import Request, Servers
from ratelimit_kit.stores.memcached.turns import Turn, Turns, share, together

LAST_LOOK_SECONDS = 0.01
"""How long to look for a reply after the deadline, if one server was waited for until then and others may have replied."""

MAX_CONNECTIONS = 32
"""Connections per server and process; more threads wait for one within the deadline."""


class ThreadTurn(Turn):
    """The turn of a thread. Its lock is made when it is used, so that a patched one is made for a green thread."""

    __slots__ = ("_woken",)

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self._woken = threading.Lock()
        self._woken.acquire()

    def wake(self) -> None:
        """Let the thread go on."""
        self._woken.release()

    def wait(self, seconds: float) -> bool:
        """Wait for `wake`; whether it came."""
        return self._woken.acquire(timeout=max(0, seconds))


class Client:
    """The servers of a store as the threads of this process see them."""

    def __init__(self, servers: Servers, failures: Failures) -> None:
        self._servers = servers
        self._failures = failures
        self._renew()
        _of_this_process.add(self)

    def _renew(self) -> None:
        """Start anew: connections, locks and turns must not be shared with a parent process."""
        self._pool = MemcachedConnections(MAX_CONNECTIONS, self._servers.addresses, self._failures.timeout)
        self._turns = Turns()

    def run(self, job: Job, call: Call | None = None) -> Any:
        """Do a job until the deadline, or let somebody else do it along with his; raises StoreError on any failure."""
        call = call or Call(self._failures.timeout)
        waited = not self._turns.take(job.keys)
        if waited:
            turn = self._await_turn(job, call)
            if turn.error is not None:
                raise copy(turn.error) from turn.error
            if turn.result is not None:
                return turn.result
        riders: Sequence[Turn] = ()
        try:
            if not waited:  # nobody else can have been here for long
                return self._do_job(job, riders, call)
            riders = self._turns.take_along(job)
            return share(self._do_job(job, riders, call), riders)
        except Exception as error:
            share(error, riders)
            if is_silence(error) and self._servers.share_fate(job.keys):
                self._turns.fail(job.keys, error)
            raise
        except BaseException:
            self._turns.put_back(job, riders)
            raise
        finally:
            self._turns.leave(job.keys)

    def close(self) -> None:
        """Close the idle connections."""
        self._pool.close()

    def _await_turn(self, job: Job, call: Call) -> ThreadTurn:
        """Wait until the turns of all keys are held, or somebody has done the job."""
        turn = ThreadTurn(job)
        done = False
        try:
            done = self._turns.queue(turn) or turn.wait(call.left())
            if not done and not self._turns.withdraw(turn):  # whoever does the job has to end no later than this call
                done = turn.wait(self._failures.timeout)
        finally:
            if not done and self._turns.give_up(turn):
                self._turns.leave(job.keys)
        if not done:
            raise self._failures.contended("others kept a counter busy")
        return turn

    def _do_job(self, job: Job, riders: Sequence[Turn], call: Call) -> Any:
        if not job.keys:  # a ping does not queue behind hits
            return self._converse(job.conversation([]), call)
        if not self._pool.permits.acquire(call.ends - time.monotonic()):
            raise self._failures.contended(f"all {MAX_CONNECTIONS} connections stayed busy")
        try:
            call.asked_at = time.monotonic()
            if job.hit is not None and not riders and (decision := self._hit(job, call)) is not None:
                return decision
            return self._converse(together(job, riders), call)
        finally:
            self._pool.permits.release()

    def _hit(self, job: Job, call: Call) -> Decision | None:
        """The conversation of most hits in as few steps as possible; None, with nothing changed, if it is another one."""
        assert job.hit is not None
        key, deadline = job.keys[0], call.ends
        server = self._servers.only or self._servers.server_of(key)
        connection: Connection | None = None
        decision: Decision | None = None
        try:
            connection = self._pool.take(server, deadline)
            request = b"gets %b\r\n" % key.encode()
            connection.send(request, deadline)
            received = connection.receive_some(deadline)
            found = quick_value(received, request) or connection.receive(gets([key])[1], deadline, received).get(key)
            hit = job.hit(found)
            if hit is not None:
                write, decision = hit
                if write is not None:
                    connection.send(stored(write), deadline)
                    if (received := connection.receive_some(deadline)) != STORED:
                        made = connection.receive(store([write])[1], deadline, received)
                        decision = decision if made[key] is True else None
        except BaseException as error:
            if connection is not None:
                self._pool.discard(connection)
            if isinstance(error, OSError | InvalidReply):
                raise self._failure(server, error, call) from error
            raise
        self._pool.keep(connection, server)
        return decision

    def _converse(self, conversation: Conversation, call: Call) -> Any:
        """Execute the steps of a conversation."""
        exchange = _Exchange(self._servers, self._pool, call, partial(self._failure, call=call))
        try:
            step = next(conversation)
            while True:
                try:
                    answer = None
                    if isinstance(step, Wait):
                        self._wait(step.seconds, call)
                    else:
                        answer = exchange.do(step)
                except StoreError as error:
                    step = conversation.throw(error)
                else:
                    step = conversation.send(answer)
        except StopIteration as end:
            return end.value
        finally:
            exchange.end()

    def _wait(self, seconds: float, call: Call) -> None:
        self._failures.pause(call, seconds)
        time.sleep(seconds)
        call.asked_at = time.monotonic()

    def _failure(self, server: str, error: OSError | InvalidReply, call: Call) -> StoreError:
        """The error for a server; when it is away, its idle connections may all be as dead as the one that failed."""
        if isinstance(error, InvalidReply):
            failure = self._failures.invalid(server, str(error))
        else:
            failure = self._failures.failed(server, error, call)
        if isinstance(failure, StoreUnavailableError):
            self._pool.drop(server)
        return failure


class _Exchange:
    """What one conversation asks of the servers, over connections that it holds until its end."""

    def __init__(
        self, servers: Servers, pool: MemcachedConnections, call: Call, failure: Callable[[str, Any], StoreError]
    ) -> None:
        self._servers = servers
        self._pool = pool
        self._call = call
        self._failure = failure
        self._held: dict[str, Connection] = {}

    def do(self, step: Read | Writes | Ask) -> Any:
        """Execute a step; where a server fails that may have written as others have, its failure is that of its keys."""
        requests = self._servers.requests(step)
        outcomes: dict[str, Any] = {}
        try:
            for request in requests:
                outcomes[request.server] = self._attempt(self._send, request)
            for request in requests:
                if outcomes[request.server] is None:
                    outcomes[request.server] = self._attempt(self._receive, request)
        except BaseException:
            while self._held:  # a reply may still be on its way
                self._pool.discard(self._held.popitem()[1])
            raise
        for request in requests:
            failure = outcomes[request.server]
            if isinstance(failure, StoreError):
                if len(requests) == 1 or not request.keys:
                    raise failure
                outcomes[request.server] = dict.fromkeys(request.keys, failure)
        return self._servers.answer(step, list(outcomes.items()))

    def end(self) -> None:
        """Let others use the connections."""
        for server, connection in self._held.items():
            self._pool.keep(connection, server)

    def _attempt(self, work: Callable[[Request], Any], request: Request) -> Any:
        """What `work` returns, or the StoreError of its failure: then the connection is not used again."""
        try:
            return work(request)
        except (OSError, InvalidReply) as error:
            if request.server in self._held:
                self._pool.discard(self._held.pop(request.server))
            failure = self._failure(request.server, error)
            failure.__cause__ = error
            return failure

    def _send(self, request: Request) -> None:
        if request.server not in self._held:
            self._held[request.server] = self._pool.take(request.server, self._call.ends)
        self._held[request.server].send(request.data, self._call.ends)

    def _receive(self, request: Request) -> dict[str, Any]:
        ends = max(self._call.ends, time.monotonic() + LAST_LOOK_SECONDS)
        return self._held[request.server].receive(request.reader, ends)


_of_this_process = each_in_forked_child(Client._renew)  # noqa: SLF001 - its own module
"""All clients, whose sockets and locks belong to the process that made them."""
