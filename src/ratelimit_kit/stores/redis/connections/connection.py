"""A connection to Redis for one caller at a time: a command is one write, its reply usually one read, by one deadline.

redis-py has opened the connection (TLS, login, database). A connection after which a reply may still come, or that sent
what is not a reply, must be closed: its next reply might belong to the failed call.
"""

from __future__ import annotations

import ssl
from time import monotonic
from typing import Any, Final

from ratelimit_kit.stores.pool import input_check
from ratelimit_kit.stores.redis.connections.resp import Reply, parse
from ratelimit_kit.stores.redis.driver import ConnectionLost, InvalidReply, socket_of

READ_SIZE: Final = 64 * 1024
"""Bytes that are read at once: almost all replies are shorter than a hundred."""

SLACK: Final = 0.98
"""The part of the deadline that may be left for a call without setting the socket's timeout, which is a system call."""


class Connection:
    """A connection of redis-py (`library`), used over its socket; `timeout` is the deadline of a call in seconds."""

    __slots__ = ("_enough", "_has_input", "_socket", "_timeout", "library")

    def __init__(self, library: Any, timeout: float) -> None:
        self.library = library
        self._timeout = timeout
        self._enough = timeout * SLACK
        self._socket: Any = socket_of(library)
        self._socket.settimeout(timeout)
        # A TLS socket may have read what nobody has asked for yet, and redis-py knows how to tell.
        self._has_input = None if isinstance(self._socket, ssl.SSLSocket) else input_check(self._socket)

    def call(self, command: bytes, deadline: float) -> Reply:
        """Send a packed command and return its reply, an error too; raises OSError, ConnectionLost or InvalidReply.

        `deadline` is a time of the monotonic clock, in seconds.
        """
        sock = self._socket
        hurried = deadline - monotonic() < self._enough
        if hurried:
            self._hurry(deadline)
        sock.sendall(command)
        if hurried:
            self._hurry(deadline)
        data = self._read()
        while (found := parse(data)) is None:
            if not data:
                raise ConnectionLost("the server closed the connection")
            hurried = True
            self._hurry(deadline)
            more = self._read()
            if not more:
                raise ConnectionLost("the server closed the connection within a reply")
            data += more
        reply, end = found
        if end != len(data):
            raise InvalidReply(f"the server sent {data[end : end + 40]!r} after its reply")
        if hurried:
            sock.settimeout(self._timeout)
        return reply

    def is_fit(self) -> bool:
        """Whether the connection is open and holds no unread data."""
        if self._has_input is not None:
            return self._socket.fileno() >= 0 and not self._has_input()
        if self._socket is not socket_of(self.library):
            return False
        try:
            return not self.library.can_read(0)
        except Exception:  # noqa: BLE001 - whatever it is, this connection is not used
            return False

    def close(self) -> None:
        """Close the connection; redis-py opens it again when it is used."""
        self.library.disconnect()

    def _read(self) -> bytes:
        """What has arrived; a thread that was late itself looks once more before it gives up."""
        try:
            data: bytes = self._socket.recv(READ_SIZE)
        except TimeoutError:
            self._socket.settimeout(0)
            try:
                data = self._socket.recv(READ_SIZE)
            except (BlockingIOError, ssl.SSLWantReadError):
                raise TimeoutError from None
            self._socket.settimeout(self._timeout)
        return data

    def _hurry(self, deadline: float) -> None:
        """Let the socket wait for no longer than what is left; raises TimeoutError if nothing is."""
        left = deadline - monotonic()
        if left <= 0:
            raise TimeoutError
        self._socket.settimeout(left)
