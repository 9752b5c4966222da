"""Servers that are alive and refuse a call: full, busy, or asked for one bad key. None of it is an outage.

The circuit breaker stays closed, other keys are decided by the store, and no limit fails open.
"""

from __future__ import annotations

import contextlib
import socketserver
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest
import redis as client_library
from pymemcache.client.base import Client

from ratelimit_kit import Limiter, MemcachedStore, RedisStore, Store
from ratelimit_kit.errors import StoreContendedError, StoreError, StoreFullError
from tests.processes import RedisServer, memcached_server, redis_server

pytestmark = pytest.mark.live


class Refusing(NamedTuple):
    """A server that refuses calls about `key`: how to open a store there, and the error that it gives."""

    open: Callable[[], Store]
    error: type[StoreError]
    key: str = "key"
    other: str | None = None
    """A key that the store decides all the while; None if it decides none."""


@contextlib.contextmanager
def full_redis() -> Iterator[Refusing]:
    with redis_server("--maxmemory-policy", "noeviction") as server, client_library.Redis(port=server.port) as raw:
        open_store = store_on(server)
        Limiter("1/hour", store=open_store()).hit("known")
        raw.config_set("maxmemory", 1)
        yield Refusing(open_store, StoreFullError, other="known")


@contextlib.contextmanager
def full_memcached() -> Iterator[Refusing]:
    """Full of large items: there is no page left for those of a counter's size, or those are all in use."""
    with memcached_server("-m", "2", "-M") as server:
        with contextlib.closing(Client(("127.0.0.1", server.port), default_noreply=False)) as raw:
            Limiter("1/hour", store=f"memcached://127.0.0.1:{server.port}?timeout=5").hit("known")
            for size in (400_000, 100_000, 10_000, 1000, 300, 200, 150, 100, 50, 10):
                with contextlib.suppress(Exception):
                    for number in range(100_000):
                        raw.set(f"fill-{size}-{number}", b"x" * size)
        yield Refusing(
            lambda: MemcachedStore(f"memcached://127.0.0.1:{server.port}", timeout=5), StoreFullError, other="known"
        )


@contextlib.contextmanager
def busy_redis() -> Iterator[Refusing]:
    """Somebody's script never ends."""
    with redis_server("--lua-time-limit", "1") as server:
        open_store = store_on(server)
        Limiter("1/hour", store=open_store()).hit("known")
        endless = threading.Thread(target=run_for_ever, args=(server.port,))
        endless.start()
        with client_library.Redis(port=server.port) as raw:
            while not is_busy(raw):
                pass
            try:
                yield Refusing(open_store, StoreContendedError)
            finally:
                raw.script_kill()
                endless.join()


def run_for_ever(port: int) -> None:
    with client_library.Redis(port=port) as raw, contextlib.suppress(client_library.RedisError):
        raw.eval("while true do end", 0)


def is_busy(raw: Any) -> bool:
    try:
        raw.ping()
    except client_library.ResponseError as error:
        return str(error).startswith("BUSY")
    return False


@contextlib.contextmanager
def bad_key(value: Callable[[Any, bytes], object]) -> Iterator[Refusing]:
    """Something else is stored under one key."""
    with redis_server() as server, client_library.Redis(port=server.port) as raw:
        open_store = store_on(server)
        limiter = Limiter("1/hour", store=open_store())
        limiter.hit("bad")
        (key,) = raw.keys("*bad*")
        raw.delete(key)
        value(raw, key)
        limiter.hit("known")
        yield Refusing(open_store, StoreError, key="bad", other="known")


def store_on(server: RedisServer) -> Callable[[], Store]:
    return lambda: RedisStore(f"redis://127.0.0.1:{server.port}/0", timeout=5)


SERVERS = {
    "full redis": full_redis,
    "full memcached": full_memcached,
    "busy redis": busy_redis,
    "another type": lambda: bad_key(lambda raw, key: raw.lpush(key, "1")),
    "no state": lambda: bad_key(lambda raw, key: raw.set(key, "garbage")),
}


@pytest.fixture(scope="module", params=SERVERS)
def refusing(request: pytest.FixtureRequest) -> Iterator[Refusing]:
    with SERVERS[request.param]() as found:
        yield found


async def test_it_is_an_error_of_its_own_and_no_outage(refusing: Refusing) -> None:
    limiter = Limiter("1/hour", store=refusing.open(), deny_cache=False)
    for _ in range(3):
        with pytest.raises(StoreError) as caught:
            limiter.hit(refusing.key)
        assert type(caught.value) is refusing.error
        with pytest.raises(StoreError) as caught:
            await limiter.ahit(refusing.key)
        assert type(caught.value) is refusing.error
    assert not limiter._store.degraded
    if refusing.other is not None:
        for decision in (limiter.hit(refusing.other), await limiter.ahit(refusing.other)):
            assert (decision.allowed, decision.degraded) == (False, False)
    await limiter.aclose()
    limiter.close()


@pytest.mark.parametrize(("word", "expected"), [("allow", 0), ("deny", 0), ("local", 2), ("local-share", 1)])
async def test_local_counters_decide_and_allow_admits_nobody(refusing: Refusing, word: Any, expected: int) -> None:
    limiter = Limiter("2/hour", store=refusing.open(), on_outage=word, workers=2, name="default", deny_cache=False)
    decisions = [limiter.hit(refusing.key) for _ in range(4)] + [await limiter.ahit(refusing.key) for _ in range(4)]
    assert all(decision.degraded for decision in decisions)
    assert sum(decision.allowed for decision in decisions) == expected
    assert not limiter._store.degraded
    await limiter.aclose()
    limiter.close()


def test_the_advice_says_what_to_change(refusing: Refusing) -> None:
    limiter = Limiter("1/hour", store=refusing.open())
    with pytest.raises(StoreError) as caught:
        limiter.hit(refusing.key)
    words = {StoreFullError: ("maxmemory", "-m"), StoreContendedError: ("script kill",), StoreError: ("Other keys",)}
    assert any(word in str(caught.value) for word in words[refusing.error])
    limiter.close()


class RefusingMemcached(socketserver.StreamRequestHandler):
    """Knows no key, and takes no value: a real server of so few bytes per item does not start."""

    refusal = b""

    def handle(self) -> None:
        for line in self.rfile:
            command, *words = line.split()
            if command in {b"add", b"set", b"cas"}:
                self.rfile.read(int(words[3]) + 2)
                self.wfile.write(b"SERVER_ERROR " + self.refusal + b"\r\n")
            else:
                self.wfile.write(b"END\r\n")


@pytest.mark.parametrize(
    ("refusal", "kind", "advice"),
    [
        (b"object too large for cache", StoreError, r"takes no item as large.*\(-I\).*RLK300"),
        (b"out of memory storing object", StoreFullError, r"is full.*\(-m\).*RLK304"),
    ],
)
async def test_a_memcached_that_refuses_a_value_is_no_outage(refusal: bytes, kind: Any, advice: str) -> None:
    handler = type("Handler", (RefusingMemcached,), {"refusal": refusal})
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        store = MemcachedStore(f"memcached://127.0.0.1:{server.server_address[1]}", timeout=5)
        limiter = Limiter("5/minute", store=store)
        for _ in range(3):
            with pytest.raises(kind, match=advice):
                limiter.hit("key")
            with pytest.raises(kind, match=advice):
                await limiter.ahit("key")
        assert not limiter._store.degraded
        assert not Limiter("5/minute", store=store, on_outage="allow").hit("key").allowed
        await limiter.aclose()
        limiter.close()
        server.shutdown()
        thread.join()
