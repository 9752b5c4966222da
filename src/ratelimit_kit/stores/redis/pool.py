"""Script calls over redis-py's connections, with less around them than a client's command.

A connection is taken from the client's pool when a call finds no free one, and kept. What was idle is
looked at before it is used: one that the server has closed, or that holds an answer nobody has read, is
closed and never used for a charge. An error closes the connection, for what it would answer next is not
known; nothing is sent twice.
"""

from __future__ import annotations

import select
import ssl
from collections import deque
from typing import Any

from ratelimit_kit.stores.redis.driver import ResponseError, connection_of
from ratelimit_kit.stores.redis.failures import is_demoted


class Lines:
    """The free connections of one client, in this process."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool
        self._free: deque[_Line] = deque()

    def call(self, command: bytes) -> Any:
        """Send a packed command, and return the answer; ResponseError for one that the server refused."""
        line = self._take()
        try:
            line.connection.send_packed_command([command])
            answer = line.connection.read_response(disable_decoding=True)
        except BaseException as error:
            if isinstance(error, ResponseError) and not is_demoted(error):
                self._free.append(line)
            else:
                self._drop(line)
            raise
        self._free.append(line)
        return answer

    def _take(self) -> _Line:
        while True:
            try:
                line = self._free.pop()
            except IndexError:
                return _Line(connection_of(self._pool))
            if line.is_fit():
                return line
            self._drop(line)

    def _drop(self, line: _Line) -> None:
        line.connection.disconnect()
        self._pool.release(line.connection)


class _Line:
    """A connection, and how to see in one system call whether there is something to read."""

    __slots__ = ("_poll", "_socket", "connection")

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self._socket = getattr(connection, "_sock", None)
        self._poll: Any = None
        if hasattr(select, "poll") and self._socket is not None and not isinstance(self._socket, ssl.SSLSocket):
            poll = select.poll()
            poll.register(self._socket, select.POLLIN)
            self._poll = poll.poll

    def is_fit(self) -> bool:
        """Whether the connection stands, and nothing lies in it."""
        connection = self.connection
        if self._poll is not None:
            return connection._sock is self._socket and not self._poll(0)  # noqa: SLF001 - it has no name of its own
        try:
            return not connection.can_read(0)
        except Exception:  # noqa: BLE001 - whatever it is, this connection is not used
            return False
