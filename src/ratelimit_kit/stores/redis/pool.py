"""Script calls over redis-py's connections, with less around them than a client's command.

A connection is taken from the client's pool when a call finds no idle one, and kept. One that the server has closed,
or that holds an answer nobody has read, is closed and never used for a charge. An error closes the connection, for
what it would answer next is not known; nothing is sent twice.
"""

from __future__ import annotations

import select
import ssl
from collections.abc import Hashable
from typing import Any

from ratelimit_kit.stores.pool import ConnectionPool
from ratelimit_kit.stores.redis.driver import ResponseError, connection_of
from ratelimit_kit.stores.redis.failures import is_demoted


class RedisConnections(ConnectionPool["Connection"]):
    """The connections of one client, in this process; `library_pool` is redis-py's."""

    def __init__(self, size: int, library_pool: Any) -> None:
        super().__init__(size)
        self._library_pool = library_pool

    def call(self, command: bytes) -> Any:
        """Send a packed command, and return the reply; ResponseError for one that the server refused."""
        line = self.take()
        try:
            line.connection.send_packed_command([command])
            reply = line.connection.read_response(disable_decoding=True)
        except BaseException as error:
            if isinstance(error, ResponseError) and not is_demoted(error):
                self.keep(line)
            else:
                self.discard(line)
            raise
        self.keep(line)
        return reply

    def connect(self, place: Hashable) -> Connection:  # noqa: ARG002 - there is one
        """A connection that stands."""
        return Connection(connection_of(self._library_pool))

    def is_fit(self, connection: Connection) -> bool:
        """Whether the connection stands, and nothing lies in it."""
        library = connection.connection
        if connection.poll is not None:
            return library._sock is connection.socket and not connection.poll(0)  # noqa: SLF001 - it has no name of its own
        try:
            return not library.can_read(0)
        except Exception:  # noqa: BLE001 - whatever it is, this connection is not used
            return False

    def discard(self, connection: Connection) -> None:
        """Close a connection, and let redis-py forget it."""
        connection.connection.disconnect()
        self._library_pool.release(connection.connection)


class Connection:
    """A connection, and how to see in one system call whether there is something to read."""

    __slots__ = ("connection", "poll", "socket")

    def __init__(self, connection: Any) -> None:
        self.connection = connection
        self.socket = getattr(connection, "_sock", None)
        self.poll: Any = None
        if hasattr(select, "poll") and self.socket is not None and not isinstance(self.socket, ssl.SSLSocket):
            poll = select.poll()
            poll.register(self.socket, select.POLLIN)
            self.poll = poll.poll
