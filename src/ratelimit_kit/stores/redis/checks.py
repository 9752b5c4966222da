"""Startup checks: problems of a Redis server or client that are visible before the first request."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from typing import Any

from ratelimit_kit.errors import (
    ClockOffsetWarning,
    EvictionWarning,
    NoTimeoutError,
    OptionError,
    ReplicaError,
    StartupRefused,
    StartupWarning,
)
from ratelimit_kit.stores.redis.driver import NoPermissionError

_log = logging.getLogger("ratelimit_kit")

MAX_OFFSET_SECONDS = 2.0
"""How far two clocks may differ before it is worth a warning."""


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
    name: str, call: Callable[[Callable[[Any], Any]], Any]
) -> Iterator[StartupRefused | StartupWarning]:
    """Problems of the server; `call` runs a function on the client and raises StoreError."""
    begun = time.time()
    seconds, microseconds = _one(call(lambda client: client.time()), tuple)
    offset = seconds + microseconds / 1e6 - (begun + time.time()) / 2
    if abs(offset) > MAX_OFFSET_SECONDS:
        yield ClockOffsetWarning(
            f"the clock of {name} is {abs(offset):.0f} s {'ahead of' if offset > 0 else 'behind'} this machine's: limits count "
            "on the store's clock, so they hold, but calendar windows end by it and log times will not agree. "
            "Run NTP on both"
        )
    info = call(_info)
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


def server_facts(call: Callable[[Callable[[Any], Any]], Any]) -> dict[str, Any]:
    """Facts about the server, for people: version, role, eviction policy, and clock offset in seconds."""
    begun = time.time()
    seconds, microseconds = _one(call(lambda client: client.time()), tuple)
    offset = seconds + microseconds / 1e6 - (begun + time.time()) / 2
    info = call(_info)
    name = str(info.get("server_name", "redis")).capitalize()
    version = info.get("valkey_version") or info.get("redis_version", "of a version that this user may not ask for")
    return {
        "server": f"{name} {version}",
        "role": info.get("role"),
        "eviction": info.get("maxmemory_policy"),
        "clock_offset": round(offset, 3),
    }


def _info(client: Any) -> dict[str, Any]:
    """The reply to INFO; empty if this user may not run it."""
    try:
        answer = client.info()
    except NoPermissionError:
        _log.info("this Redis user may not run INFO: role and maxmemory-policy were not checked")
        return {}
    found: dict[str, Any] = _one(answer, dict)
    return found


def _one(answer: Any, kind: type) -> Any:
    """The reply of one node: a cluster client returns a dict of replies by node name."""
    if isinstance(answer, dict):
        first = next(iter(answer.values()), None)
        return first if isinstance(first, kind) and all(isinstance(one, kind) for one in answer.values()) else answer
    return answer
