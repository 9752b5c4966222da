"""Managed servers, proxies and users with few rights leave commands out: what counts is whether counting works."""

from __future__ import annotations

import contextlib
import logging
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis as client_library

from ratelimit_kit import Limiter, Policy, RedisStore, Rule
from ratelimit_kit.asgi import RateLimitMiddleware as Asgi
from ratelimit_kit.cli.doctor.checkup import checkup
from ratelimit_kit.errors import StoreUnreachableError
from ratelimit_kit.wsgi import RateLimitMiddleware as Wsgi
from tests.clusters import cluster_servers, sentinel_servers
from tests.processes import Process, redis_server

pytestmark = pytest.mark.live

LISTED = ["+evalsha", "+eval", "+get", "+psetex", "+del", "+time"]
"""The rights that docs/reference/stores.md lists."""


def allow(port: int, *rights: str) -> None:
    with client_library.Redis(port=port) as raw:
        raw.execute_command("ACL", "SETUSER", "app", "on", ">word", "~rlk:*", "resetchannels", "-@all", *rights)


@contextlib.contextmanager
def without(*commands: str) -> Iterator[str]:
    """A server that does not know some commands."""
    options = [word for command in commands for word in ("--rename-command", command, "")]
    with redis_server(*options) as server:
        yield f"redis://127.0.0.1:{server.port}/0"


@contextlib.contextmanager
def few_rights(query: str = "") -> Iterator[str]:
    with redis_server() as server:
        allow(server.port, *LISTED)
        yield f"redis://app:word@127.0.0.1:{server.port}/0{query}"


@contextlib.contextmanager
def another_database() -> Iterator[str]:
    with redis_server() as server:
        allow(server.port, *LISTED, "+select")
        yield f"redis://app:word@127.0.0.1:{server.port}/3"


@contextlib.contextmanager
def behind_sentinels() -> Iterator[str]:
    with sentinel_servers() as watched:
        allow(watched.primary.port, *LISTED)
        yield watched.url().replace("redis+sentinel://", "redis+sentinel://app:word@")


@contextlib.contextmanager
def in_a_cluster() -> Iterator[str]:
    with cluster_servers(replicas=0) as cluster:
        for port in cluster.ports:
            allow(port, *LISTED, "+cluster|slots", "+command")
        yield cluster.url().replace("redis+cluster://", "redis+cluster://app:word@")


@contextlib.contextmanager
def proxy(port: int, *refused: bytes, says: bytes = b"") -> Iterator[int]:
    """A proxy to that port. For a command that it does not pass on it says so, or else ends the connection."""

    class Proxy(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            with socket.create_connection(("127.0.0.1", port)) as behind:
                threading.Thread(target=pump, args=(behind, self.request), daemon=True).start()
                while data := self.request.recv(65536):
                    if not any(word in data.upper() for word in refused):
                        behind.sendall(data)
                    elif says:
                        self.request.sendall(says)
                    else:
                        return

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Proxy) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()


@contextlib.contextmanager
def behind_a_proxy() -> Iterator[str]:
    with (
        redis_server() as server,
        proxy(server.port, *(b"\r\n%b\r\n" % name for name in (b"INFO", b"PING", b"TIME"))) as port,
    ):
        yield f"redis://127.0.0.1:{port}/0"


def pump(source: Any, sink: Any) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)


SERVERS: dict[str, Callable[[], Any]] = {
    "without INFO": lambda: without("INFO"),
    "without PING": lambda: without("PING"),
    "without either, nor CONFIG": lambda: without("INFO", "PING", "CONFIG"),
    "few rights": few_rights,
    "few rights in RESP3": lambda: few_rights("?protocol=3"),
    "another database": another_database,
    "behind Sentinels": behind_sentinels,
    "in a cluster": in_a_cluster,
    "behind a proxy": behind_a_proxy,
}


@pytest.fixture(scope="module", params=SERVERS)
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    with SERVERS[request.param]() as found:
        yield found


def policy(url: str) -> Policy:
    return Policy(Rule("2/minute", name="site"), Rule("9/minute", name="other"), store=RedisStore(url, timeout=5))


def test_a_site_starts_and_counts_in_both_apis(url: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "ratelimit_kit")
    site = policy(url)
    for middleware in (Wsgi, Asgi):
        middleware(lambda *_: [], site)  # type: ignore[arg-type,return-value]
    found = [record.getMessage() for record in caplog.records]
    unchecked = [message for message in found if "maxmemory-policy" in message and "was not checked" in message]
    assert bool(unchecked) == (not knows_info(url))
    assert not any("word" in message for message in unchecked)
    assert site.health().status == "pass"
    site.store.close()


def knows_info(url: str) -> bool:
    store = RedisStore(url, timeout=5)
    try:
        return store.facts()["role"] is not None
    finally:
        store.close()


async def test_the_health_is_that_of_counting(url: str) -> None:
    site = policy(url)
    try:
        assert (await site.ahealth()).status == "pass"
    finally:
        await site.store.aclose()


async def test_limits_are_exact(url: str) -> None:
    store = RedisStore(url, timeout=5)
    limiter = Limiter("3/minute", store=store, name="exact")
    store.ping()
    await store.aping()
    admitted = [limiter.hit("key").allowed for _ in range(2)] + [(await limiter.ahit("key")).allowed for _ in range(2)]
    assert admitted == [True, True, True, False]
    limiter.reset("key")
    await store.aclose()
    store.close()


def test_doctor_goes_on_and_says_what_it_did_not_check(url: str) -> None:
    findings = {one.check: one for one in checkup({"store": f"{url}{'&' if '?' in url else '?'}timeout=5"}, bare=True)}
    for check in ("server", "script", "counting", "clock"):
        assert findings[check].status == "pass", findings[check]
    expected = "pass" if knows_info(url) else "warn"
    assert {findings["primary"].status, findings["eviction"].status} == {expected}
    if expected == "warn":
        assert "not checked: this user may not run INFO" in findings["eviction"].found


@pytest.mark.parametrize("right", ["evalsha", "eval", "get", "time"])
def test_a_right_that_counting_needs_is_asked_for_at_the_start(right: str) -> None:
    with redis_server() as server:
        allow(server.port, *(one for one in LISTED if one != f"+{right}"))
        store = RedisStore(f"redis://app:word@127.0.0.1:{server.port}/0", timeout=5)
        with pytest.raises(StoreUnreachableError, match="this user may not do that: it needs EVALSHA"):
            Policy(Rule("1/minute"), Rule("9/day"), store=store).start()


@pytest.mark.parametrize("says", [b"ERROR\r\n", b""], ids=["error", "end"])
def test_memcached_behind_a_proxy_without_statistics(
    memcached: Process, says: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "ratelimit_kit")
    with proxy(memcached.port, b"STATS", says=says) as port:
        url = f"memcached://127.0.0.1:{port}?timeout=5"
        site = Policy(Rule("2/minute", name="site"), store=url)
        site.start()
        assert "clocks and evictions were not checked" in caplog.text
        assert site.health().status == "pass"
        findings = {one.check: one for one in checkup({"store": url}, bare=True)}
        assert (findings["server"].status, findings["counting"].status) == ("pass", "pass")
        assert findings["eviction"].found == findings["clock"].found == "not checked: the server does not answer stats"
        site.store.close()
