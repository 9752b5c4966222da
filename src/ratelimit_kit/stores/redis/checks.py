"""Startup checks: problems of a Redis server or client that are visible before the first request."""

from __future__ import annotations

import inspect
import logging
import time
from collections.abc import Callable, Iterator
from typing import Any

from ratelimit_kit.core.durations import MICROSECONDS
from ratelimit_kit.errors import (
    ClockOffsetWarning,
    EvictionWarning,
    NoTimeoutError,
    OptionError,
    ReplicaError,
    StartupRefused,
    StartupWarning,
    StoreError,
)
from ratelimit_kit.stores.redis.driver import CLIENTS, NO_CLIENTS

_log = logging.getLogger("ratelimit_kit")

MAX_OFFSET_SECONDS = 2.0
"""How far two clocks may differ before it is worth a warning."""


_OTHER_LIBRARIES = frozenset({"aioredis", "aredis", "coredis", "glide", "glide_sync", "valkey"})
"""Packages with clients much like redis-py's, whose errors this store would not understand."""


def refuse_other(client: Any, *, asynchronous: bool) -> None:
    """Raise OptionError for what is no client of redis-py, or one for the other API."""
    option, good = ("async_client", "redis.asyncio.Redis") if asynchronous else ("client", "redis.Redis")
    kind = client if isinstance(client, type) else type(client)
    what = f"RedisStore was given {option}=, which is"
    write = f"Write {option}={good}(..., socket_timeout=0.25, socket_connect_timeout=0.25, retry=None)"
    if isinstance(client, type):
        raise OptionError(f"{what} the class {kind.__name__} and not a client. {write}")
    if isinstance(client, NO_CLIENTS):
        more = ", or its .master_for(name)" if "Sentinel" in kind.__name__ else ""
        raise OptionError(f"{what} a {kind.__name__}, which cannot decide single calls. {write}{more}")
    if isinstance(client, CLIENTS[not asynchronous]) or (
        not asynchronous and inspect.iscoroutinefunction(getattr(kind, "execute_command", None))
    ):
        found, other = ("a sync client", "client") if asynchronous else ("an async client", "async_client")
        raise OptionError(f"{what} {found}: write {other}=, or give the store a URL, which serves both APIs")
    if kind.__module__.partition(".")[0] in _OTHER_LIBRARIES:
        raise OptionError(
            f"{what} a client of {kind.__module__.partition('.')[0]}, and it takes redis-py's only. {write}"
        )
    if not hasattr(kind, "execute_command") and not hasattr(kind, "__getattr__"):  # a proxy has only the latter
        hint = "; a URL is given by itself: RedisStore('redis://127.0.0.1:6379/0')" if isinstance(client, str) else ""
        raise OptionError(f"{what} of the type {kind.__name__} and not a client of redis-py. {write}{hint}")


def refuse_repeating(client: Any) -> None:
    """Raise OptionError for a user's client that retries calls: the first attempt may have been charged."""
    pool = getattr(client, "connection_pool", None)
    options = getattr(pool, "connection_kwargs", {})
    retry = options.get("retry") if pool is not None else getattr(client, "retry", None)
    times = retry.get_retries() if retry is not None else len(options.get("retry_on_error") or [])
    if times or options.get("retry_on_timeout"):
        raise OptionError(
            f"RedisStore was given a client that repeats a call up to {times or 1} times: a hit whose reply is late would be "
            f"charged again, and an outage would cost each caller many deadlines. {_no_retry(pool is not None)}"
        )


def _no_retry(single: bool) -> str:  # noqa: FBT001 - its own module
    if single:
        return "Build the client with retry=None (redis.Redis.from_url does so by itself)"
    return "Build the client with retry=redis.retry.Retry(redis.backoff.NoBackoff(), 0)"


def client_findings(name: str, client: Any) -> Iterator[StartupRefused]:
    """Problems of a user's client, found without using the network."""
    pool = getattr(client, "connection_pool", None) or getattr(client, "nodes_manager", None)
    options = getattr(pool, "connection_kwargs", {})
    missing = [option for option in ("socket_timeout", "socket_connect_timeout") if options.get(option, 0) is None]
    if missing:
        raise_to = ", ".join(f"{option}=0.25" for option in missing)
        yield NoTimeoutError(
            f"{name} was given a client without {' and '.join(missing)}: if Redis hangs, every request hangs. "
            f"Build the client with {raise_to}"
        )


def server_findings(
    name: str, call: Callable[[Callable[[Any], Any]], Any], clock: Callable[[], int]
) -> Iterator[StartupRefused | StartupWarning]:
    """Problems of the server: `call` runs a function on the client and raises StoreError, `clock` tells its time in microseconds."""
    offset = _offset(clock)
    if abs(offset) > MAX_OFFSET_SECONDS:
        yield ClockOffsetWarning(
            f"the clock of {name} is {abs(offset):.0f} s {'ahead of' if offset > 0 else 'behind'} this machine's: limits count "
            "on the store's clock, so they hold, but calendar windows end by it and log times will not agree. "
            "Run NTP on both"
        )
    info = _info(call)
    if info is None:
        _log.warning(
            "%s counts, but does not answer INFO, as some managed servers, proxies and users with few rights: whether it is a "
            "replica, and whether it evicts counters (maxmemory-policy), was not checked",
            name,
        )
        return
    if info.get("role", "master") != "master":
        yield ReplicaError(
            f"{name} is a replica, which does not accept writes: every decision would fail. Use the address of its primary"
            + (f", {info['master_host']}:{info['master_port']}" if "master_host" in info else "")
        )
    policy = info.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        yield EvictionWarning(
            f"{name} has maxmemory-policy {policy}: when its memory is full it evicts counters, and their clients start with "
            "a full quota. Give the counters a Redis of their own with `maxmemory-policy noeviction`"
        )


def server_facts(call: Callable[[Callable[[Any], Any]], Any], clock: Callable[[], int]) -> dict[str, Any]:
    """Facts about the server, for people: version, role, eviction policy, and clock offset in seconds."""
    offset = _offset(clock)
    info = _info(call) or {}
    name = str(info.get("server_name", "redis")).capitalize()
    version = info.get("valkey_version") or info.get("redis_version", "of a version that it does not tell")
    return {
        "server": f"{name} {version}",
        "role": info.get("role"),
        "eviction": info.get("maxmemory_policy"),
        "clock_offset": round(offset, 3),
    }


def server_time(call: Callable[[Callable[[Any], Any]], Any]) -> int:
    """The server's time in microseconds."""
    seconds, microseconds = _one(call(lambda client: client.time()), tuple)
    return int(seconds) * MICROSECONDS + int(microseconds)


def _offset(clock: Callable[[], int]) -> float:
    """How many seconds the server's clock is ahead of this machine's."""
    begun = time.time()
    return clock() / MICROSECONDS - (begun + time.time()) / 2


def _info(call: Callable[[Callable[[Any], Any]], Any]) -> dict[str, Any] | None:
    """The reply to INFO of a server that has just decided; None if it refuses that, or a proxy ends the connection."""
    try:
        answer = call(lambda client: client.info())
    except StoreError:
        return None
    found: dict[str, Any] = _one(answer, dict)
    return found


def _one(answer: Any, kind: type) -> Any:
    """The reply of one node: a cluster client returns a dict of replies by node name."""
    if isinstance(answer, dict):
        first = next(iter(answer.values()), None)
        return first if isinstance(first, kind) and all(isinstance(one, kind) for one in answer.values()) else answer
    return answer
