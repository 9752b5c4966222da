"""Calls over connections that redis-py opens, with less overhead than a command of its client.

If no connection is idle, a call takes one from the client's pool and keeps it. A connection that the server has closed,
or that holds an unread reply, is closed and never used for a charge. So is one after a failure, and with it all that
are idle: what has ended one of them, such as a restart or a gateway that forgets, has often ended all. Nothing is sent
twice.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from time import monotonic
from typing import Any, TypeVar

from ratelimit_kit.stores.pool import ConnectionPool, Permits
from ratelimit_kit.stores.redis.connections.connection import Connection
from ratelimit_kit.stores.redis.connections.resp import Reply
from ratelimit_kit.stores.redis.deadline import within
from ratelimit_kit.stores.redis.driver import (
    FAILURES,
    BusyLoadingError,
    MaxConnectionsError,
    ResponseError,
    connection_of,
)
from ratelimit_kit.stores.redis.failures import is_demoted

T = TypeVar("T")

MAX_OPENING = 8
"""Connections that are opened at the same time: a flood of threads would else be late for each step of each handshake."""


class RedisConnections(ConnectionPool[Connection]):
    """This process's connections of one client; `library_pool` is redis-py's, `timeout` the deadline of a call."""

    def __init__(self, size: int, library_pool: Any, timeout: float) -> None:
        super().__init__(size)
        self._library_pool = library_pool
        self._timeout = timeout
        self._openers = Permits(MAX_OPENING)

    def call(self, command: bytes, deadline: float, read: Callable[[Reply], T]) -> T:
        """Send a packed command and return what is read from its reply; raises ResponseError if the server rejects it.

        `read` raises InvalidReply for what is no reply to this command; `deadline` is monotonic, in seconds.
        """
        connection = self.take(deadline=deadline)
        try:
            reply = connection.call(command, deadline)
            if not isinstance(reply, Exception):
                result = read(reply)
                self.keep(connection)
                return result
        except BaseException as error:
            self.discard(connection)
            if isinstance(error, FAILURES):
                self.close()
            raise
        if isinstance(reply, ResponseError | BusyLoadingError) and not is_demoted(reply):
            self.keep(connection)
        else:
            self.discard(connection)
            self.close()
        raise reply

    def connect(self, place: Hashable, deadline: float) -> Connection:
        """An open connection: a new one, or one that became idle while others were being opened."""
        if not self._openers.acquire(deadline - monotonic()):
            raise MaxConnectionsError("too many connections were being opened")
        try:
            connection = self.find(place)
            if connection is None:
                with within(deadline):
                    connection = Connection(connection_of(self._library_pool), self._timeout)
            return connection
        finally:
            self._openers.release()

    def is_fit(self, connection: Connection) -> bool:
        """Whether the connection is open and holds no unread data."""
        return connection.is_fit()

    def discard(self, connection: Connection) -> None:
        """Close a connection and return it to redis-py's pool."""
        super().discard(connection)
        self._library_pool.release(connection.library)
