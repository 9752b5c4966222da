"""Script calls over redis-py's connections, with less around them than a client's command.

A connection is taken from the client's pool when a call finds no idle one, and kept. One that the server has closed,
or that holds an answer nobody has read, is closed and never used for a charge. An error closes the connection, for
what it would answer next is not known; nothing is sent twice.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from ratelimit_kit.stores.pool import ConnectionPool
from ratelimit_kit.stores.redis.driver import Connection, ResponseError, connection_of
from ratelimit_kit.stores.redis.failures import is_demoted


class RedisConnections(ConnectionPool[Connection]):
    """The connections of one client, in this process; `library_pool` is redis-py's."""

    def __init__(self, size: int, library_pool: Any) -> None:
        super().__init__(size)
        self._library_pool = library_pool

    def call(self, command: bytes) -> Any:
        """Send a packed command, and return the reply; ResponseError for one that the server refused."""
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

    def connect(self, place: Hashable) -> Connection:  # noqa: ARG002 - there is one
        """A connection that stands."""
        return Connection(connection_of(self._library_pool))

    def is_fit(self, connection: Connection) -> bool:
        """Whether the connection stands, and nothing lies in it."""
        return connection.is_fit()

    def discard(self, connection: Connection) -> None:
        """Close a connection, and let redis-py forget it."""
        connection.library.disconnect()
        self._library_pool.release(connection.library)
