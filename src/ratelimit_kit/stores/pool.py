"""Connections of one process: how many there may be at once, and those that nobody uses now.

A caller first acquires a permit, and waits for one within a deadline: more callers than connections are told apart from
an outage, so that a flood does not look like one. What was idle is looked at before it is used.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Hashable
from queue import Empty, SimpleQueue
from typing import Generic, TypeVar

C = TypeVar("C")


class ConnectionPool(Generic[C]):
    """At most `size` connections in use at once, to one place or several; a subclass knows how to connect."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._idle: defaultdict[Hashable, deque[C]] = defaultdict(deque)
        # A semaphore of the standard library takes ten times as long to say yes.
        self._permits: SimpleQueue[None] = SimpleQueue()
        for _ in range(size):
            self._permits.put(None)

    def acquire(self, timeout: float) -> bool:
        """Wait for a permit to use connections, for some seconds at most; whether there was one."""
        try:
            self._permits.get(timeout=timeout)
        except Empty:
            return False
        return True

    def release(self) -> None:
        """Let somebody else have the permit."""
        self._permits.put(None)

    def take(self, place: Hashable = None) -> C:
        """An idle connection that is fit, else a new one."""
        idle = self._idle[place]
        while True:
            try:
                connection = idle.pop()
            except IndexError:
                return self.connect(place)
            if self.is_fit(connection):
                return connection
            self.discard(connection)

    def keep(self, connection: C, place: Hashable = None) -> None:
        """Let somebody else have the connection."""
        self._idle[place].append(connection)

    def close(self) -> None:
        """Close what is idle."""
        for idle in list(self._idle.values()):
            while idle:
                self.discard(idle.pop())

    def connect(self, place: Hashable) -> C:
        """A new connection."""
        raise NotImplementedError

    def is_fit(self, connection: C) -> bool:  # noqa: ARG002 - for subclasses that can tell
        """Whether an idle connection can be used."""
        return True

    def discard(self, connection: C) -> None:
        """Close a connection: nobody needs it, or nobody knows what it would answer next."""
        raise NotImplementedError
