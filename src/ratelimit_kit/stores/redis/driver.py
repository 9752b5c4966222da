"""The redis-py library: the parts in use, and clients configured the way this library needs them.

This module imports redis (`cluster.py` only its `redis.crc`) and says what to install if it is missing. Private names
are used only here, in `opening.py`, `protocol.py` and `abort.py`, and checked once: without them calls go through redis-py's
client.
"""

from __future__ import annotations

import contextlib
import inspect
import logging
import os
import weakref
from functools import partial
from typing import Any, Final

from ratelimit_kit.core.validation import nearest
from ratelimit_kit.errors import DependencyError, StoreURLError
from ratelimit_kit.stores.redis.opening import has_data, misread_as, timed, whole
from ratelimit_kit.stores.redis.url import OF_ONE_SERVER, Address

try:
    import redis
    import redis.asyncio
    import redis.asyncio.cluster
    import redis.asyncio.sentinel
    import redis.cluster
    import redis.connection
    import redis.sentinel
    from redis.backoff import NoBackoff
    from redis.exceptions import (
        AuthenticationError,
        BusyLoadingError,
        ClusterDownError,
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
    "CLIENTS",
    "CLUSTERS",
    "FAILURES",
    "MAX_CONNECTIONS",
    "NEVER_DECODE",
    "NO_CLIENTS",
    "TIMEOUTS",
    "AuthenticationError",
    "BusyLoadingError",
    "ClusterDownError",
    "ConnectionLost",
    "InvalidReply",
    "MaxConnectionsError",
    "NoPermissionError",
    "NoScriptError",
    "ReadOnlyError",
    "ResponseError",
    "connection_of",
    "drop_ended",
    "error_of",
    "has_data",
    "has_private_names",
    "make_client",
    "reading",
    "renew_if_ended",
    "room",
    "sentinel_clients",
    "socket_of",
]

FAILURES = (redis.RedisError, RedisClusterException, OSError, TimeoutError)
"""Everything a call may raise; redis-py's cluster errors do not derive from RedisError."""

TIMEOUTS = (TimeoutError, redis.TimeoutError)

ConnectionLost = redis.ConnectionError
"""The connection was closed."""

InvalidReply = redis.InvalidResponse
"""The bytes received are not a reply."""

reading = partial(misread_as, InvalidReply)
"""Turns what redis-py raises over bytes that it cannot read into an InvalidReply."""

CLUSTERS = (redis.cluster.RedisCluster, redis.asyncio.cluster.RedisCluster)

CLIENTS: Final = {
    False: (redis.Redis, redis.cluster.RedisCluster),
    True: (redis.asyncio.Redis, redis.asyncio.cluster.RedisCluster),
}
"""The classes of clients: sync (False) and asynchronous (True)."""

NO_CLIENTS: Final = (
    redis.client.Pipeline,
    redis.client.PubSub,
    redis.cluster.ClusterPipeline,
    redis.sentinel.Sentinel,
    redis.asyncio.client.Pipeline,
    redis.asyncio.client.PubSub,
    redis.asyncio.cluster.ClusterPipeline,
    redis.asyncio.sentinel.Sentinel,
)
"""Classes that execute commands too, but not each at once and on one server."""

MAX_CONNECTIONS = 64
"""Connections per process; more threads wait for one within the deadline."""


_ANONYMOUS: Final = (
    {"driver_info": None}
    if "driver_info" in inspect.signature(redis.connection.AbstractConnection).parameters
    else {"lib_name": None, "lib_version": None}
)
"""Options against telling the server redis-py's name and version, which takes two trips of the deadline."""


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
    options |= _ANONYMOUS
    options["max_connections"] = MAX_CONNECTIONS
    if address.kind == "sentinel":
        # Before version 8, redis-py parses a Sentinel's replies in RESP2 only. One that hangs leaves time for the others.
        part = timeout / (1 + len(address.nodes))
        shared = {"socket_connect_timeout": part, "socket_timeout": part}
        asked = {**options, **address.sentinel_options, **shared, "protocol": 2}
        known = library.sentinel.Sentinel(address.nodes, sentinel_kwargs=asked, **{**options, **address.options})
        return _managed(known.master_for(address.service), asynchronous=asynchronous)
    try:
        pool = library.ConnectionPool.from_url(address.url, **{**options, **address.options})
        pool.connection_class(**pool.connection_kwargs)
    except TypeError as error:
        name = str(error).rpartition("'")[0].rpartition("'")[2]  # an unexpected keyword argument 'tiemout'
        about = "it is about TLS: write rediss://" if name.startswith("ssl_") else nearest(name, OF_ONE_SERVER)
        raise StoreURLError(f"store={address.shown!r} has no option {name!r}; {about}") from None
    except (
        ValueError,
        LookupError,
        AttributeError,
        redis.RedisError,
    ) as error:  # nothing was sent: it is about options
        raise StoreURLError(f"store={address.shown!r} is not a Redis URL: {error}") from None
    client = library.Redis.from_pool(pool) if asynchronous else library.Redis(connection_pool=pool)
    return _managed(client, asynchronous=asynchronous)


def _managed(client: Any, *, asynchronous: bool) -> Any:
    """The client. Its connections, also those to Sentinels, are opened completely or not at all.

    Those of a sync one keep the deadline of the call that uses them, and are closed when it is dropped, or else each
    socket would warn that it was left open.
    """
    for one in (client, *sentinel_clients(client)):
        pool = one.connection_pool
        if asynchronous:
            pool.connection_class = whole(pool.connection_class, InvalidReply)
        else:
            pool.connection_class = timed(pool.connection_class, InvalidReply)
            weakref.finalize(client, _disconnect, pool, os.getpid()).atexit = False
    return client


def _disconnect(pool: Any, pid: int) -> None:
    """Close a pool's connections, in the process that has opened them: in a forked child, its lock may be held for ever."""
    if os.getpid() == pid:
        pool.disconnect()


def _cluster(address: Address, options: dict[str, Any], *, asynchronous: bool) -> Any:
    """A cluster client; only one that gets a URL lets its nodes have pools of another class, and timed connections."""
    cluster = redis.asyncio.cluster if asynchronous else redis.cluster
    nodes = [cluster.ClusterNode(*node) for node in address.nodes]
    if asynchronous:
        client = cluster.RedisCluster(startup_nodes=nodes, **options)
        kind = client.connection_kwargs["connection_class"] = whole(
            client.connection_kwargs["connection_class"], InvalidReply
        )
        for node in client.nodes_manager.startup_nodes.values():
            node.connection_class = kind
        return client
    (host, port), *_ = address.nodes
    scheme = "rediss" if options.pop("ssl", False) else "redis"
    url = f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
    return cluster.RedisCluster(url=url, startup_nodes=nodes[1:], connection_pool_class=_TimedPool, **options)


class _TimedPool(redis.ConnectionPool):
    """The connections of a node of a cluster, which keep the deadline of the caller."""

    def __init__(self, connection_class: Any = redis.Connection, *given: Any, **options: Any) -> None:
        super().__init__(timed(connection_class, InvalidReply), *given, **options)


def connection_of(pool: Any) -> Any:
    """An open connection or, from an asynchronous pool, a coroutine that returns one."""
    try:
        return pool.get_connection()
    except TypeError:  # redis-py before 5.3 requires the name of a command
        return pool.get_connection("EVALSHA")


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


def room(client: Any) -> int:
    """How many calls at a time have a connection each, as far as a client tells, and no more than MAX_CONNECTIONS."""
    most = getattr(getattr(client, "connection_pool", None), "max_connections", None)
    return min(MAX_CONNECTIONS, most) if isinstance(most, int) and most > 0 else MAX_CONNECTIONS


def renew_if_ended(client: Any) -> None:
    """Open the connection of a `single_connection_client` anew if it has ended, or holds data that nobody asked for."""
    connection = getattr(client, "connection", None)
    if connection is None:
        return
    with getattr(client, "single_connection_lock", contextlib.nullcontext()):
        try:
            is_fit = not connection.can_read(0)
        except (*FAILURES, ValueError):  # a closed descriptor
            is_fit = False
        if not is_fit:
            connection.disconnect()


async def drop_ended(client: Any) -> None:
    """Close the idle connections that have ended, of an asyncio cluster client; it opens others instead."""
    for node in client.get_nodes() if isinstance(client, CLUSTERS) else ():
        for connection in tuple(getattr(node, "_free", ())):
            reader = getattr(connection, "_reader", None)
            if reader is not None and reader.at_eof():
                await connection.disconnect(nowait=True)
