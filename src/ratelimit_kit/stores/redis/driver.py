"""The redis-py library: the parts in use, and clients configured the way this library needs them.

This module imports redis (`cluster.py` only its `redis.crc`) and says what to install if it is missing. Private names
of redis-py are used only here and in `protocol.py`, and checked once, when a store is created: if they are missing,
calls go through redis-py's own client, one by one.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import weakref
from functools import lru_cache
from typing import Any, Final

from ratelimit_kit.core.validation import nearest
from ratelimit_kit.errors import DependencyError, StoreURLError
from ratelimit_kit.stores.redis.deadline import TimedAttribute, TimedSocket
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
        BusyLoadingError,
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
    "BusyLoadingError",
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
    "socket_of",
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
        return _cluster(address, {**options, **address.options}, asynchronous=asynchronous)
    options["max_connections"] = MAX_CONNECTIONS
    if address.kind == "sentinel":
        # Before version 8, redis-py parses a Sentinel's replies in RESP2 only.
        asked = {**options, **address.sentinel_options, "protocol": 2}
        known = library.sentinel.Sentinel(address.nodes, sentinel_kwargs=asked, **{**options, **address.options})
        return _managed(known.master_for(address.service), asynchronous=asynchronous)
    try:
        pool = library.ConnectionPool.from_url(address.url, **{**options, **address.options})
        pool.connection_class(**pool.connection_kwargs)
    except TypeError as error:
        name = str(error).rpartition("'")[0].rpartition("'")[2]  # an unexpected keyword argument 'tiemout'
        about = "it is about TLS: write rediss://" if name.startswith("ssl_") else nearest(name, OF_ONE_SERVER)
        raise StoreURLError(f"store={address.shown!r} has no option {name!r}; {about}") from None
    except ValueError as error:
        raise StoreURLError(f"store={address.shown!r} is not a Redis URL: {error}") from None
    client = library.Redis.from_pool(pool) if asynchronous else library.Redis(connection_pool=pool)
    return _managed(client, asynchronous=asynchronous)


def _managed(client: Any, *, asynchronous: bool) -> Any:
    """The client. Connections of a sync one, also those to Sentinels, keep the deadline of the call that uses them.

    They are closed when it is dropped, or else each socket would warn that it was left open.
    """
    for one in () if asynchronous else (client, *sentinel_clients(client)):
        pool = one.connection_pool
        pool.connection_class = _timed(pool.connection_class)
        weakref.finalize(client, pool.disconnect).atexit = False
    return client


def _cluster(address: Address, options: dict[str, Any], *, asynchronous: bool) -> Any:
    """A cluster client; only one that gets a URL lets its nodes have pools of another class, and timed connections."""
    cluster = redis.asyncio.cluster if asynchronous else redis.cluster
    nodes = [cluster.ClusterNode(*node) for node in address.nodes]
    if asynchronous:
        return cluster.RedisCluster(startup_nodes=nodes, **options)
    (host, port), *_ = address.nodes
    scheme = "rediss" if options.pop("ssl", False) else "redis"
    url = f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
    return cluster.RedisCluster(url=url, startup_nodes=nodes[1:], connection_pool_class=_TimedPool, **options)


class _TimedPool(redis.ConnectionPool):
    """The connections of a node of a cluster, which keep the deadline of the caller."""

    def __init__(self, connection_class: Any = redis.Connection, *given: Any, **options: Any) -> None:
        super().__init__(_timed(connection_class), *given, **options)


def connection_of(pool: Any) -> Any:
    """An open connection or, from an asynchronous pool, a coroutine that returns one."""
    try:
        return pool.get_connection()
    except TypeError:  # redis-py before 5.3 requires the name of a command
        return pool.get_connection("EVALSHA")


@lru_cache
def _timed(kind: Any) -> Any:
    """The same class of connections, except that they keep the deadline of the caller; itself if it cannot be told to."""
    if not hasattr(kind, "_connect"):
        return kind
    limited = {
        name: TimedAttribute(name, getattr(kind, name, None)) for name in ("socket_timeout", "socket_connect_timeout")
    }

    def connect(self: Any) -> TimedSocket:
        return TimedSocket(kind._connect(self), limited["socket_timeout"].own(self))  # noqa: SLF001 - there is no public name

    return type(f"Timed{kind.__name__}", (kind,), {**limited, "_connect": connect})


def socket_of(connection: Any) -> Any:
    """The socket below a connection that was opened by redis-py; None if it is closed."""
    sock = getattr(connection, PRIVATE[False])
    return getattr(sock, "sock", sock)


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
