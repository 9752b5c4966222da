"""Stores that fail for different reasons: `doctor` says what to type for each, and not to start what runs."""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import redis as redis_py

from ratelimit_kit.cli.doctor.checkup import checkup
from ratelimit_kit.cli.findings import Finding
from tests.live.stores.test_refusing_servers import busy_redis, full_memcached, full_redis
from tests.processes import memcached_server, redis_server

pytestmark = pytest.mark.live

Store = contextlib.AbstractContextManager[str]


@contextlib.contextmanager
def busy() -> Iterator[str]:
    with busy_redis() as server:
        yield repr(server.open()).split("'")[1]


@contextlib.contextmanager
def full(open_server: Callable[..., object] = full_redis) -> Iterator[str]:
    with open_server() as server:  # type: ignore[attr-defined]
        yield repr(server.open()).split("'")[1]


@contextlib.contextmanager
def crowded() -> Iterator[str]:
    with redis_server("--maxclients", "2") as server, contextlib.ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(redis_py.Redis(port=server.port, single_connection_client=True))
        yield server.url()


@contextlib.contextmanager
def protected() -> Iterator[str]:
    with redis_server("--requirepass", "secret") as server:
        yield server.url()


@contextlib.contextmanager
def replica() -> Iterator[str]:
    with redis_server() as primary, redis_server("--replicaof", f"127.0.0.1 {primary.port}") as server:
        yield server.url()


@contextlib.contextmanager
def plain(scheme: str = "redis", database: int = 0) -> Iterator[str]:
    with redis_server() as server:
        yield f"{scheme}://127.0.0.1:{server.port}/{database}"


class Quiet(BaseHTTPRequestHandler):
    """A website that logs nothing."""

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextlib.contextmanager
def website(scheme: str = "redis") -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        yield f"{scheme}://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@contextlib.contextmanager
def memcached() -> Iterator[str]:
    with memcached_server() as server:
        yield f"redis://127.0.0.1:{server.port}"


@contextlib.contextmanager
def unknown(scheme: str = "redis") -> Iterator[str]:
    yield f"{scheme}://no-such-host.invalid:6379"


def failures(store: str) -> list[Finding]:
    """The failed findings of doctor's checks, which name what to type."""
    found = list(checkup({"rules": [{"limits": "5/minute"}], "store": store}, bare=False))
    return [one for one in found if one.status == "fail"]


@pytest.mark.parametrize(
    ("open_store", "fix"),
    [
        (busy, "redis-cli script kill"),
        (full, "config set maxmemory"),
        (lambda: full(full_memcached), r"more memory for Memcached \(-m\)"),
        (crowded, "config set maxclients"),
        (protected, "the right user and password"),
        (replica, "the primary's address"),
        (lambda: plain(database=1024), "config get databases"),
        (lambda: plain(scheme="rediss"), "redis:// instead of rediss://"),
        (website, "at which `redis-cli -h HOST -p PORT ping` prints PONG"),
        (memcached, "at which `redis-cli -h HOST -p PORT ping` prints PONG"),
        (lambda: website(scheme="memcached"), "at which `echo version . nc HOST PORT` prints VERSION"),
        (unknown, "getent hosts"),
        (lambda: unknown(scheme="memcached"), "getent hosts"),
    ],
    ids=["busy", "full", "full memcached", "crowded", "protected", "replica", "no database", "no tls", "website",
         "memcached", "website as memcached", "unknown", "unknown memcached"],
)  # fmt: skip
def test_the_fix_is_that_of_the_cause(open_store: Callable[[], Store], fix: str) -> None:
    with open_store() as url:
        found = failures(url)
    assert found
    for one in found:
        assert re.search(fix, one.fix), one
        assert "systemctl" not in one.fix
