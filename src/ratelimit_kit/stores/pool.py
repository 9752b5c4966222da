"""A bounded pool of one process's connections: permits to use one, and a list of idle ones.

A caller first acquires a permit, waiting for it up to a deadline, so that having more callers than connections does
not look like an outage. An idle connection is checked before it is used.
"""

from __future__ import annotations

import math
import os
import select
import socket
import threading
import weakref
from collections import defaultdict, deque
from collections.abc import Callable, Hashable, Mapping
from contextlib import suppress
from functools import partial
from typing import Any, Generic, Protocol, TypeVar


class Closable(Protocol):
    """A connection."""

    def close(self) -> Any:
        """Close it."""


C = TypeVar("C", bound=Closable)


class Permits:
    """A number of permits, and callers who wait for one.

    A semaphore of the standard library takes ten times as long, and a SimpleQueue stops all green threads while one of
    them waits: it is written in C, and no library that patches the others replaces it. A lock to wait on is made by whoever
    waits, so that it is a patched one even where the pool was made before the patching.
    """

    def __init__(self, number: int) -> None:
        self._free: deque[None] = deque([None] * number)
        self._waiting: deque[Any] = deque()

    def acquire(self, timeout: float) -> bool:
        """Wait at most `timeout` seconds for a permit; return whether there was one."""
        try:
            self._free.pop()
        except IndexError:
            return timeout > 0 and self._wait(timeout)
        return True

    def release(self) -> None:
        """Return a permit."""
        self._free.append(None)
        if self._waiting:
            self._hand_over()

    def _wait(self, timeout: float) -> bool:
        turn = threading.Lock()
        turn.acquire()
        self._waiting.append(turn)
        self._hand_over()  # one may have been returned before anybody was seen to wait
        try:
            got = turn.acquire(timeout=timeout)
        except BaseException:
            if self._withdraw(turn):
                self.release()
            raise
        return got or self._withdraw(turn)

    def _withdraw(self, turn: Any) -> bool:
        """Wait no longer; whether a permit has been handed over at the last moment."""
        with suppress(ValueError):
            self._waiting.remove(turn)
            return False
        return True

    def _hand_over(self) -> None:
        """Give free permits to those who have waited longest."""
        while self._free and self._waiting:
            with suppress(IndexError):
                self._free.pop()
                try:
                    turn = self._waiting.popleft()
                except IndexError:
                    self._free.append(None)
                else:
                    turn.release()


def input_check(sock: socket.socket) -> Callable[[], Any]:
    """A function that says, without waiting, whether there is something to read: of an idle connection, its end."""
    if not hasattr(select, "poll"):  # on Windows, and where eventlet has removed it
        return lambda: select.select([sock], [], [], 0)[0]
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return partial(poll.poll, 0)


class ConnectionPool(Generic[C]):
    """At most `size` connections in use at the same time, to one or more places; subclasses implement `connect`.

    Whoever uses connections must hold one of the `permits`.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._idle: defaultdict[Hashable, deque[C]] = defaultdict(deque)
        self.permits = Permits(size)
        self._process = os.getpid()
        # A store dropped without `close` leaves no open socket for the garbage collector to warn of.
        weakref.finalize(self, _close_all, self._idle).atexit = False

    def take(self, place: Hashable = None, deadline: float = math.inf) -> C:
        """An idle connection that is still usable, else one that is opened until `deadline` (monotonic seconds)."""
        connection = self.find(place)
        return self.connect(place, deadline) if connection is None else connection

    def find(self, place: Hashable) -> C | None:
        """An idle connection that is still usable, or None."""
        if self._process != os.getpid():
            self._forget_parent()
        idle = self._idle[place]
        while True:
            try:
                connection = idle.pop()
            except IndexError:
                return None
            if self.is_fit(connection):
                return connection
            self.discard(connection)

    def keep(self, connection: C, place: Hashable = None) -> None:
        """Return a connection to the idle ones."""
        self._idle[place].append(connection)

    def close(self) -> None:
        """Close the idle connections."""
        for place in list(self._idle):
            self.drop(place)

    def drop(self, place: Hashable) -> None:
        """Close the idle connections to a place that has failed: they may all be as dead as the one that failed."""
        idle = self._idle[place]
        with suppress(IndexError):  # others may take the last one meanwhile
            while True:
                self.discard(idle.pop())

    def _forget_parent(self) -> None:
        """Leave its connections to the parent: a server that forks need not tell Python (uWSGI), and something may undo its hook."""
        self._process = os.getpid()
        self._idle.clear()

    def connect(self, place: Hashable, deadline: float) -> C:
        """A new connection, opened until `deadline`."""
        raise NotImplementedError

    def is_fit(self, connection: C) -> bool:  # noqa: ARG002 - for subclasses that can tell
        """Whether an idle connection is still usable."""
        return True

    def discard(self, connection: C) -> None:
        """Close a connection that is not needed, or whose next reply could belong to an earlier call."""
        connection.close()


def _close_all(connections: Mapping[Hashable, deque[C]]) -> None:
    for some in connections.values():
        while some:
            some.pop().close()
