"""The deadline of a caller, for what redis-py does on its behalf: connecting, TLS, logging in, asking Sentinels, calls.

redis-py limits each step, so that a peer that answers a byte at a time, or an address after the other, could hold a
caller for as long as it likes. Here a connection gives every step only what is left.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from time import monotonic
from typing import Any

_DEADLINE: ContextVar[float] = ContextVar("ratelimit_kit_deadline", default=math.inf)


@contextmanager
def within(deadline: float) -> Iterator[None]:
    """Let all timed connections that are used here give up at `deadline` (seconds of the monotonic clock)."""
    token = _DEADLINE.set(deadline)
    try:
        yield
    finally:
        _DEADLINE.reset(token)


def _left(seconds: float | None) -> float | None:
    """The wait of `seconds`, or less if the deadline comes earlier; raises TimeoutError if it has passed."""
    deadline = _DEADLINE.get()
    if deadline == math.inf:
        return seconds
    left = deadline - monotonic()
    if left <= 0:
        raise TimeoutError("the deadline has passed")
    return left if seconds is None else min(seconds, left)


class TimedSocket:
    """A socket whose reads and writes wait for `seconds`, and never beyond the deadline."""

    def __init__(self, sock: Any, seconds: float | None) -> None:
        self.sock = sock
        self._seconds = seconds
        self._waits = True

    def __getattr__(self, name: str) -> Any:
        return getattr(self.sock, name)

    def settimeout(self, seconds: float | None) -> None:
        """Wait for no data if `seconds` is 0, else as before: redis-py restores what it found, within a deadline or not."""
        self._waits = seconds != 0
        self.sock.settimeout(self._seconds if self._waits else 0)

    def sendall(self, data: bytes) -> None:
        """Send all of it."""
        self._limit()
        self.sock.sendall(data)

    def recv(self, *given: Any) -> bytes:
        """Read what has arrived."""
        self._limit()
        data: bytes = self.sock.recv(*given)
        return data

    def recv_into(self, *given: Any) -> int:
        """Read what has arrived into a buffer."""
        self._limit()
        size: int = self.sock.recv_into(*given)
        return size

    def _limit(self) -> None:
        if self._waits:
            self.sock.settimeout(_left(self._seconds))


class TimedAttribute:
    """A timeout of a class of connections that is never longer than a `part` of what is left.

    `below` is the property that it hides; where the class has no such property, it is a plain attribute of its connections.
    """

    def __init__(self, name: str, below: Any, part: float = 1.0) -> None:
        self._name = name
        self._below = below
        self._part = part

    def __get__(self, connection: Any, owner: type | None = None) -> float | None:
        left = _left(self.own(connection))
        return None if left is None else left * self._part

    def __set__(self, connection: Any, seconds: float | None) -> None:
        if self._below is not None:
            self._below.__set__(connection, seconds)
        else:
            vars(connection)[self._name] = seconds

    def own(self, connection: Any) -> float | None:
        """The timeout that the connection was given."""
        seconds: float | None
        seconds = vars(connection).get(self._name) if self._below is None else self._below.__get__(connection)
        return seconds
