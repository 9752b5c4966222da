"""The redis-py library: the parts in use, and clients configured the way this library needs them.

This module imports redis (`cluster.py` only its `redis.crc`) and says what to install if it is missing. Private names
of redis-py are used only here and in `protocol.py`, and checked once, when a store is created: if they are missing,
calls go through redis-py's own client, one by one.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import select
import ssl
import weakref
from typing import Any, Final

from ratelimit_kit.core.validation import nearest
from ratelimit_kit.errors import DependencyError, StoreURLError
from ratelimit_kit.stores.redis.url import OF_ONE_SERVER, Address

try:
    import redis
    import redis.asyncio
    import redis.asyncio.cluster
    import redis.asyncio.sentinel
    import redis.cluster
    import redis.sentinel
    from redis.backoff import NoBackoff
    from redis.exceptions import (
        AuthenticationError,
        MaxConnectionsError,
        NoPermissionError,
        NoScriptError,
        ReadOnlyError,
        RedisClusterException,
        ResponseError,
    )
except ImportError as error:
    raise DependencyError.missing("the Redis store", "the redis package", "redis") from error

__all__ = [
    "CLUSTERS",
    "FAILURES",
    "MAX_CONNECTIONS",
    "NEVER_DECODE",
    "TIMEOUTS",
    "AuthenticationError",
    "Connection",
    "ConnectionLost",
    "InvalidReply",
    "MaxConnectionsError",
    "NoPermissionError",
    "NoScriptError",
    "ReadOnlyError",
    "ResponseError",
    "abort",
    "connection_of",
    "error_of",
    "has_private_names",
    "make_client",
    "sentinel_clients",
    "taken_writers",
]

FAILURES = (redis.RedisError, RedisClusterException, OSError, TimeoutError)
"""Everything a call may raise; redis-py's cluster errors do not derive from RedisError."""

TIMEOUTS = (TimeoutError, redis.TimeoutError)

ConnectionLost = redis.ConnectionError
"""The connection was closed."""

InvalidReply = redis.InvalidResponse
"""The bytes received are not a reply."""

CLUSTERS = (redis.cluster.RedisCluster, redis.asyncio.cluster.RedisCluster)

MAX_CONNECTIONS = 64
"""Connections per process; more threads wait for one within the deadline."""


def make_client(address: Address, timeout: float, *, asynchronous: bool, timed: bool = True) -> Any:
    """A client that enforces the deadline and never retries a call automatically.

    `timed=False` leaves the deadline of calls to the caller: redis-py creates a task for each call with a timeout.
    """
    library: Any = redis.asyncio if asynchronous else redis
    options = {
        "socket_connect_timeout": timeout,
        "socket_timeout": timeout if timed else None,
        "retry": library.retry.Retry(NoBackoff(), 0),
        "protocol": 2,
    }
    if address.kind == "cluster":
        nodes = [library.cluster.ClusterNode(*node) for node in address.nodes]
        return library.cluster.RedisCluster(startup_nodes=nodes, **{**options, **address.options})
    options["max_connections"] = MAX_CONNECTIONS
    if address.kind == "sentinel":
        # Before version 8, redis-py parses a Sentinel's replies in RESP2 only.
        asked = {**options, **address.sentinel_options, "protocol": 2}
        known = library.sentinel.Sentinel(address.nodes, sentinel_kwargs=asked, **{**options, **address.options})
        return _closed_at_its_end(known.master_for(address.service))
    try:
        pool = library.ConnectionPool.from_url(address.url, **{**options, **address.options})
        pool.connection_class(**pool.connection_kwargs)
    except TypeError as error:
        name = str(error).rpartition("'")[0].rpartition("'")[2]  # an unexpected keyword argument 'tiemout'
        about = "it is about TLS: write rediss://" if name.startswith("ssl_") else nearest(name, OF_ONE_SERVER)
        raise StoreURLError(f"store={address.shown!r} has no option {name!r}; {about}") from None
    except ValueError as error:
        raise StoreURLError(f"store={address.shown!r} is not a Redis URL: {error}") from None
    return library.Redis.from_pool(pool) if asynchronous else _closed_at_its_end(library.Redis(connection_pool=pool))


def _closed_at_its_end(client: Any) -> Any:
    """The client; if it is sync, its pools are closed when it is dropped: else each socket warns that it was left open."""
    for one in (client, *sentinel_clients(client)):
        if isinstance(one, redis.Redis):
            weakref.finalize(client, one.connection_pool.disconnect).atexit = False
    return client


def connection_of(pool: Any) -> Any:
    """An open connection or, from an asynchronous pool, a coroutine that returns one."""
    try:
        return pool.get_connection()
    except TypeError:  # redis-py before 5.3 requires the name of a command
        return pool.get_connection("EVALSHA")


def error_of(text: str) -> Exception:
    """The redis-py exception for an error reply of the server."""
    error: Exception = PARSER.parse_error(text)  # type: ignore[union-attr]  # has_private_names has looked
    return error


def sentinel_clients(client: Any) -> list[Any]:
    """The clients for Sentinels behind a client; closing that client leaves them open."""
    manager = getattr(getattr(client, "connection_pool", None), "sentinel_manager", None)
    return [] if manager is None else list(manager.sentinels)


def taken_writers(client: Any) -> list[Any]:
    """The streams of an asyncio client's connections, of which the client then knows no more, nor warns of them."""
    pool = getattr(client, "connection_pool", None)
    connections = [*getattr(pool, "_available_connections", ()), *getattr(pool, "_in_use_connections", ())]
    if pool is None:
        client._initialize = True  # noqa: SLF001 - so does its aclose, and else it warns of itself
        connections = [one for node in client.get_nodes() for one in getattr(node, "_connections", ())]
    found = []
    for connection in connections:
        writer = getattr(connection, "_writer", None)
        if writer is not None:
            found.append(writer)
            connection._writer = connection._reader = None  # noqa: SLF001 - there is no public name
    return found


def abort(writer: Any, *, loop_closed: bool) -> None:
    """Abort the transport of a stream; the last step, which is a callback, is taken here if its loop is closed."""
    transport = writer.transport
    plain = getattr(getattr(transport, "_ssl_protocol", None), "_transport", None) or transport
    if plain.get_extra_info("socket").fileno() < 0:
        return
    for one in {transport, plain} if loop_closed else {transport}:
        one.set_protocol(asyncio.Protocol())  # nobody waits for replies any more
    with contextlib.suppress(RuntimeError):  # Event loop is closed
        transport.abort()
    finish = getattr(plain, "_call_connection_lost", None)
    if loop_closed and finish is not None:
        finish(None)


PRIVATE: Final = {False: "_sock", True: "_writer"}
"""The attribute for the socket or stream of a redis-py connection: sync (False) and asynchronous (True)."""

PARSER: Final = getattr(redis.connection, "DefaultParser", None)
"""Redis-py's reader of replies, which names errors."""

NEVER_DECODE: Final = getattr(redis.client, "NEVER_DECODE", "NEVER_DECODE")
"""The option of a call whose reply stays bytes."""

_log = logging.getLogger("ratelimit_kit")

_told: set[str] = set()


def has_private_names(client: Any, *, asynchronous: bool) -> bool:
    """Whether the connections of a client can be taken over; if not, one log line says so."""
    pool = client.connection_pool
    connection = pool.connection_class(**pool.connection_kwargs)
    missing = [] if hasattr(connection, PRIVATE[asynchronous]) else [f"Connection.{PRIVATE[asynchronous]}"]
    if not hasattr(PARSER, "parse_error"):
        missing.append("DefaultParser.parse_error")
    for name in missing:
        if name not in _told:
            _told.add(name)
            _log.warning(
                "redis-py %s has no %s: calls go through its client one by one, which takes longer. Limits hold; "
                "a newer ratelimit-kit may know this version",
                redis.__version__,
                name,
            )
    return not missing


class Connection:
    """A redis-py connection, with a check in one system call for data to read."""

    __slots__ = ("_poll", "_socket", "library")

    def __init__(self, library: Any) -> None:
        self.library = library
        self._socket = getattr(library, "_sock", None)
        self._poll: Any = None
        if hasattr(select, "poll") and self._socket is not None and not isinstance(self._socket, ssl.SSLSocket):
            poll = select.poll()
            poll.register(self._socket, select.POLLIN)
            self._poll = poll.poll

    def is_fit(self) -> bool:
        """Whether the connection is open and holds no unread data."""
        if self._poll is not None:
            return self.library._sock is self._socket and not self._poll(0)  # noqa: SLF001 - there is no public name
        try:
            return not self.library.can_read(0)
        except Exception:  # noqa: BLE001 - whatever it is, this connection is not used
            return False

    def close(self) -> None:
        """Close the connection; redis-py opens it again when it is used."""
        self.library.disconnect()
