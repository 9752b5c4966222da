"""Script calls over redis-py's connections, with less overhead than a command of its client.

If no connection is idle, a call takes one from the client's pool and keeps it. A connection that the server has closed,
or that holds an unread reply, is closed and never used for a charge. So is one after an error, because its next reply
might belong to the failed call; nothing is sent twice.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from ratelimit_kit.stores.pool import ConnectionPool
from ratelimit_kit.stores.redis.driver import Connection, ResponseError, connection_of
from ratelimit_kit.stores.redis.failures import is_demoted


class RedisConnections(ConnectionPool[Connection]):
    """This process's connections of one client; `library_pool` is redis-py's."""

    def __init__(self, size: int, library_pool: Any) -> None:
        super().__init__(size)
        self._library_pool = library_pool

    def call(self, command: bytes) -> Any:
        """Send a packed command and return the reply; raises ResponseError if the server rejects it."""
        connection = self.take()
        try:
            connection.library.send_packed_command([command])
            reply = connection.library.read_response(disable_decoding=True)
        except BaseException as error:
            if isinstance(error, ResponseError) and not is_demoted(error):
                self.keep(connection)
            else:
                self.discard(connection)
            raise
        self.keep(connection)
        return reply

    def connect(self, place: Hashable, deadline: float) -> Connection:  # noqa: ARG002 - redis-py has its own
        """An open connection."""
        return Connection(connection_of(self._library_pool))

    def is_fit(self, connection: Connection) -> bool:
        """Whether the connection is open and holds no unread data."""
        return connection.is_fit()

    def discard(self, connection: Connection) -> None:
        """Close a connection and return it to redis-py's pool."""
        super().discard(connection)
        self._library_pool.release(connection.library)
