"""A bounded pool of one process's connections: permits to use one, and a list of idle ones.

A caller first acquires a permit, waiting for it up to a deadline, so that having more callers than connections does
not look like an outage. An idle connection is checked before it is used.
"""

from __future__ import annotations

import math
import weakref
from collections import defaultdict, deque
from collections.abc import Hashable, Mapping
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, Generic, Protocol, TypeVar


class Closable(Protocol):
    """A connection."""

    def close(self) -> Any:
        """Close it."""


C = TypeVar("C", bound=Closable)


class ConnectionPool(Generic[C]):
    """At most `size` connections in use at the same time, to one or more places; subclasses implement `connect`."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._idle: defaultdict[Hashable, deque[C]] = defaultdict(deque)
        # Acquiring a semaphore of the standard library takes ten times as long.
        self._permits: SimpleQueue[None] = SimpleQueue()
        for _ in range(size):
            self._permits.put(None)
        # A store dropped without `close` leaves no open socket for the garbage collector to warn of.
        weakref.finalize(self, _close_all, self._idle).atexit = False

    def acquire(self, timeout: float) -> bool:
        """Wait at most `timeout` seconds for a permit to use connections; return whether there was one."""
        try:
            self._permits.get(timeout=timeout)
        except Empty:
            return False
        return True

    def release(self) -> None:
        """Return a permit."""
        self._permits.put(None)

    def take(self, place: Hashable = None, deadline: float = math.inf) -> C:
        """An idle connection that is still usable, else one that is opened until `deadline` (monotonic seconds)."""
        idle = self._idle[place]
        while True:
            try:
                connection = idle.pop()
            except IndexError:
                return self.connect(place, deadline)
            if self.is_fit(connection):
                return connection
            self.discard(connection)

    def keep(self, connection: C, place: Hashable = None) -> None:
        """Return a connection to the idle ones."""
        self._idle[place].append(connection)

    def close(self) -> None:
        """Close the idle connections."""
        for idle in list(self._idle.values()):
            with suppress(IndexError):  # others may take the last one meanwhile
                while True:
                    self.discard(idle.pop())

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
