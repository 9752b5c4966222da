"""Connections to Redis that die, dribble, hang or carry garbage: one deadline, one error, and the next call is decided."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from threading import Barrier, Event
from typing import Any

import pytest
import redis as client_library
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.credentials import CredentialProvider

from ratelimit_kit import Limiter, RedisStore
from ratelimit_kit.errors import StoreContendedError, StoreError, StoreUnavailableError
from tests.clusters import cluster_servers, sentinel_servers
from tests.processes import Process, RedisServer, redis_server
from tests.relay import Relay, dribble, relay

pytestmark = pytest.mark.live

TIMEOUT = 0.25
PATIENCE = 4 * TIMEOUT
"""What a call may take on a busy machine; without a deadline these would take from two seconds to all day."""

GARBAGE = [
    b"$-1\r\n",
    b"+OK\r\n",
    b"*2\r\n:1\r\n:2\r\n",
    b"$3\r\nabc\r\n",
    b"$0\r\n\r\n",
    b"$8\r\n\0\0\0\0\0\0\0\0\r\n",
    b":12x\r\n",
    b"$abc\r\n",
    b"HTTP/1.1 400 Bad Request\r\n\r\n",
    b":1\r\n:1\r\n",
]


@pytest.fixture
def between(redis: RedisServer) -> Iterator[Relay]:
    with relay(redis.port) as one:
        yield one


def limiter_on(between: Relay, redis: RedisServer, **options: Any) -> Limiter:
    database = redis.url().rpartition("/")[2]
    url = f"redis://127.0.0.1:{between.port}/{database}?timeout={TIMEOUT}"
    return Limiter("sliding-window: 1000/hour", store=RedisStore(url, **options), deny_cache=False)


@pytest.mark.parametrize("garbage", GARBAGE, ids=repr)
def test_garbage_is_an_error_of_the_calls_on_that_connection(
    between: Relay, redis: RedisServer, garbage: bytes
) -> None:
    limiter = limiter_on(between, redis)
    assert [limiter.hit("key").remaining for _ in range(2)] == [999, 998]
    between.answer = lambda _: [garbage]
    with pytest.raises(StoreUnavailableError):
        limiter.store.decide(limiter._charges("key", 1))
    between.answer = None
    assert limiter.store.decide(limiter._charges("key", 1))[0].remaining == 996
    limiter.close()


@pytest.mark.parametrize("batching", [True, False])
@pytest.mark.parametrize("garbage", GARBAGE, ids=repr)
async def test_garbage_is_an_error_of_the_tasks_on_that_connection(
    between: Relay, redis: RedisServer, garbage: bytes, batching: bool
) -> None:
    limiter = limiter_on(between, redis, batching=batching)
    assert [(await limiter.ahit("key")).remaining for _ in range(2)] == [999, 998]
    between.answer = lambda _: [garbage]
    charges = limiter._charges("key", 1)
    lost = await asyncio.gather(*[limiter.store.adecide(charges) for _ in range(5)], return_exceptions=True)
    assert {type(one) for one in lost} == {StoreUnavailableError}
    assert len({id(one) for one in lost}) == 5
    between.answer = None
    found = await asyncio.gather(*[limiter.store.adecide(charges) for _ in range(5)])
    lefts = sorted(one[0].remaining for one in found)
    assert lefts == list(range(lefts[0], lefts[0] + 5))  # whose answers these are
    assert lefts[-1] < 998
    await limiter.aclose()


def timed_out(call: Callable[[], Any]) -> StoreError:
    begun = time.monotonic()
    with pytest.raises(StoreError) as found:
        call()
    assert time.monotonic() - begun < PATIENCE
    return found.value


def every_call(limiter: Limiter) -> list[Callable[[], Any]]:
    """A call of each kind, in the sync API and in an event loop of its own."""
    store, charges = limiter.store, limiter._charges("key", 1)

    async def in_loop(name: str, *given: Any) -> None:
        try:
            await getattr(store, name)(*given)
        finally:
            await store.aclose()

    kinds = [("decide", charges), ("refund", charges), ("reset", charges), ("ping",)]
    return [
        *[lambda name=name, given=given: getattr(store, name)(*given) for name, *given in kinds],
        *[lambda name=name, given=given: asyncio.run(in_loop(f"a{name}", *given)) for name, *given in kinds],
    ]


def test_a_connection_that_dribbles_costs_one_deadline(between: Relay, redis: RedisServer) -> None:
    limiter = limiter_on(between, redis)
    for call in every_call(limiter):
        limiter.hit("key")  # over a connection that stands, and then answers a byte at a time
        between.answer = dribble
        assert isinstance(timed_out(call), StoreUnavailableError)
        between.answer = None
    limiter.close()


@pytest.mark.parametrize("scheme", ["redis", "rediss", "redis+sentinel", "redis+cluster", "rediss+cluster"])
@pytest.mark.parametrize("fault", ["dribbles", "is mute"])
def test_connecting_costs_one_deadline(redis: RedisServer, scheme: str, fault: str) -> None:
    """Every step of it by itself is answered within the deadline, or nothing is."""
    with relay(redis.port) as one, relay(redis.port) as other:
        for between in (one, other):
            between.answer, between.mute = dribble, fault == "is mute"
        address = f"127.0.0.1:{one.port}"
        if "+" in scheme:
            address += f",127.0.0.1:{other.port}"
        path = {"redis": "/3", "rediss": "/3", "redis+sentinel": "/main"}.get(scheme, "")
        limiter = Limiter("5/hour", store=f"{scheme}://{address}{path}?timeout={TIMEOUT}")
        for call in every_call(limiter):
            assert isinstance(timed_out(call), StoreUnavailableError)
        limiter.close()


@pytest.mark.parametrize("connections", [8, 24, 64])
def test_one_call_finds_out_that_all_connections_are_dead(between: Relay, redis: RedisServer, connections: int) -> None:
    limiter = limiter_on(between, redis)
    meet = Barrier(connections)

    def busy(_: int) -> None:
        meet.wait()
        for _ in range(10):
            with suppress(StoreError):  # the machine may be slow to open so many
                limiter.hit("warm")

    with ThreadPoolExecutor(connections) as pool:
        list(pool.map(busy, range(connections)))
    assert between.connections > 1
    between.forget()
    with pytest.raises(StoreUnavailableError):
        limiter.store.decide(limiter._charges("key", 1))
    assert limiter.store.decide(limiter._charges("key", 1))[0].allowed
    limiter.store.ping()
    assert between.connections == 1
    limiter.close()


async def test_one_call_finds_out_that_a_loops_connection_is_dead(between: Relay, redis: RedisServer) -> None:
    limiter = limiter_on(between, redis)
    await limiter.ahit("key")
    between.forget()
    with pytest.raises(StoreUnavailableError):
        await limiter.store.adecide(limiter._charges("key", 1))
    assert (await limiter.store.adecide(limiter._charges("key", 1)))[0].allowed
    await limiter.aclose()


class Passwords(CredentialProvider):
    """Gives the password of the day, as cloud providers do."""

    def __init__(self) -> None:
        self.password = "first"

    def get_credentials(self) -> tuple[str, str]:
        return "app", self.password

    async def get_credentials_async(self) -> tuple[str, str]:
        return self.get_credentials()


@pytest.mark.parametrize("rotated", [False, True], ids=["closed", "with another password"])
@pytest.mark.parametrize("protocol", [2, 3])
async def test_clients_of_ones_own_never_use_a_connection_that_was_closed(rotated: bool, protocol: int) -> None:
    with redis_server() as server:
        admin = client_library.Redis(port=server.port)
        passwords = Passwords()
        admin.acl_setuser("app", enabled=True, passwords=["+first"], keys=["*"], categories=["+@all"])
        given = {
            "port": server.port,
            "protocol": protocol,
            "socket_timeout": TIMEOUT,
            "socket_connect_timeout": TIMEOUT,
            "credential_provider": passwords,
        }
        clients = {
            "client": client_library.Redis(**given, retry=None),
            "async_client": client_library.asyncio.Redis(**given, retry=Retry(NoBackoff(), 0)),
        }
        store = RedisStore(**clients)
        limiter = Limiter("10/hour", store=store, deny_cache=False)
        for at in range(3):
            assert limiter.hit("sync").remaining == 9 - at
            assert (await limiter.ahit("async")).remaining == 9 - at
            if rotated:
                passwords.password = f"number {at}"
                admin.acl_setuser("app", enabled=True, reset_passwords=True, passwords=[f"+{passwords.password}"])
            for one in admin.client_list():
                if one["user"] == "app":
                    admin.client_kill(one["addr"])
            await asyncio.sleep(0.05)  # the loop sees the end
        clients["client"].close()
        await clients["async_client"].aclose()
        admin.close()


async def test_single_connections_and_clusters_of_ones_own_are_looked_at_too() -> None:
    with cluster_servers(replicas=0) as cluster, redis_server() as server, contextlib.ExitStack() as stack:
        admins = [stack.enter_context(client_library.Redis(port=port)) for port in [server.port, *cluster.ports]]
        timeouts = {"socket_timeout": 2, "socket_connect_timeout": 2}
        never = Retry(NoBackoff(), 0)
        single = {"port": server.port, "single_connection_client": True, **timeouts}
        many = {"host": "127.0.0.1", "port": cluster.ports[0], **timeouts, "retry": never}
        pairs = [
            (client_library.Redis(**single, retry=None), client_library.asyncio.Redis(**single, retry=never)),
            (client_library.RedisCluster(**many), client_library.asyncio.RedisCluster(**many)),
        ]
        for plain, asynchronous in pairs:
            store = RedisStore(client=plain, async_client=asynchronous)
            limiter = Limiter("10/hour", store=store, deny_cache=False, name=type(plain).__name__)
            for at in range(3):
                assert limiter.hit("sync").remaining == 9 - at
                assert (await limiter.ahit("async")).remaining == 9 - at
                for admin in admins:
                    admin.client_kill_filter(_type="normal", skipme=True)
                await asyncio.sleep(0.05)  # the loop sees the end
            plain.close()
            await asynchronous.aclose()


async def test_tasks_and_threads_wait_for_a_connection_of_ones_own_client(redis: RedisServer) -> None:
    given = {"socket_timeout": 5, "socket_connect_timeout": 5, "max_connections": 10}
    url = redis.url()
    plain = client_library.Redis.from_url(url, retry=None, **given)
    asynchronous = client_library.asyncio.Redis.from_url(url, retry=None, **given)
    limiter = Limiter("100000/hour", store=RedisStore(client=plain, async_client=asynchronous, timeout=20))
    assert all(await asyncio.gather(*[limiter.ahit("key") for _ in range(300)]))
    with ThreadPoolExecutor(40) as pool:
        assert all(pool.map(lambda _: limiter.hit("key"), range(400)))
    assert limiter.peek("key").remaining == 100_000 - 700
    plain.close()
    await asynchronous.aclose()


async def test_a_cluster_client_of_ones_own_is_initialized_once() -> None:
    with cluster_servers(replicas=0) as cluster:
        client = client_library.asyncio.RedisCluster(
            host="127.0.0.1", port=cluster.ports[0], socket_timeout=10, retry=Retry(NoBackoff(), 0)
        )
        limiter = Limiter("100/hour", store=RedisStore(async_client=client, timeout=10), deny_cache=False)
        found = [bool(one) for _ in range(4) for one in await asyncio.gather(*[limiter.ahit("key") for _ in range(60)])]
        assert sum(found) == 100
        await client.aclose()


def test_a_connection_takes_no_trips_to_tell_about_redis_py(redis: RedisServer) -> None:
    with client_library.Redis.from_url(redis.url()) as raw:
        before = raw.info("commandstats").get("cmdstat_client|setinfo", {"calls": 0})["calls"]
        limiter = Limiter("5/hour", store=redis.url())
        assert limiter.hit("key")
        assert asyncio.run(limiter.ahit("key"))
        assert raw.info("commandstats").get("cmdstat_client|setinfo", {"calls": 0})["calls"] == before
        limiter.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_child_that_was_forked_while_a_connection_was_opened_decides(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, inside, go_on = client_library.ConnectionPool.make_connection, Event(), Event()
    parent = os.getpid()

    def slowly(pool: Any, *given: Any) -> Any:  # redis-py holds the lock of its pool meanwhile
        if os.getpid() == parent:
            inside.set()
            go_on.wait(20)
        return make(pool, *given)

    monkeypatch.setattr(client_library.ConnectionPool, "make_connection", slowly)
    limiter = Limiter("9/hour", store=RedisStore(redis.url(), timeout=20))
    with ThreadPoolExecutor(1) as pool:
        opening = pool.submit(limiter.hit, "key")
        inside.wait(20)
        child = os.fork()
        if child == 0:
            signal.alarm(15)
            os._exit(not limiter.hit("key"))
        status = os.waitpid(child, 0)[1]
        go_on.set()
        assert opening.result()
    assert status == 0
    assert limiter.peek("key").remaining == 7
    limiter.close()


@pytest.mark.parametrize("prefix", ["shop*", "sho?", "[s]hop", "shop\\\\"])
def test_clear_takes_a_prefix_as_it_is(redis: RedisServer, prefix: str) -> None:
    url = redis.url()
    mine, other = (Limiter("3/hour", store=RedisStore(url, prefix=one)) for one in (prefix, "shop"))
    for limiter in (mine, other, Limiter("3/hour", store=RedisStore(url, prefix="shopping"))):
        limiter.hit("key")
    mine.store.clear()  # type: ignore[attr-defined]
    assert mine.peek("key").remaining == 3
    assert other.peek("key").remaining == 2


async def test_a_refund_may_be_of_any_cost(redis: RedisServer) -> None:
    limiter = Limiter("3/hour", "token-bucket: 3/minute", "fixed-window: 3/day", store=redis.url())
    for refund in (lambda: limiter.refund("key", 2**1100), lambda: limiter.arefund("key", 2**1100)):
        limiter.hit("key")
        found = refund()
        if found is not None:
            await found
        assert limiter.peek("key").remaining == 3
    await limiter.aclose()


def test_waiting_for_a_connection_is_no_outage(
    between: Relay, redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor is a reply that comes too late because most of the deadline went by before the call was sent."""
    monkeypatch.setattr("ratelimit_kit.stores.redis.driver.MAX_CONNECTIONS", 1)
    limiter = limiter_on(between, redis)
    limiter.hit("key")
    between.answer = lambda data: [0.6 * TIMEOUT, data]

    def decide(_: int) -> str:
        try:
            limiter.store.decide(limiter._charges("key", 1))
        except StoreError as error:
            return type(error).__name__
        return "decided"

    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(decide, range(6)))
    assert set(found) == {"decided", StoreContendedError.__name__}, found
    limiter.close()


async def test_waiting_for_the_loops_connection_is_no_outage(
    between: Relay, redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ratelimit_kit.stores.redis.pipeline.pipeline.MAX_BATCHES", 1)
    limiter = limiter_on(between, redis, batching=False)
    await limiter.ahit("key")
    between.answer = lambda data: [0.6 * TIMEOUT, data]
    charges = limiter._charges("key", 1)
    found = await asyncio.gather(*[limiter.store.adecide(charges) for _ in range(6)], return_exceptions=True)
    errors = {type(one) for one in found if isinstance(one, BaseException)}
    assert errors == {StoreContendedError}
    assert not isinstance(found[0], BaseException)
    await limiter.aclose()


@pytest.mark.parametrize("garbage", [b":abc\r\n", b"$zz\r\n", b"*x\r\n", b"\x00\x00\r\n", b"*1\r\n$-7\r\n"], ids=repr)
@pytest.mark.parametrize("scheme", ["redis", "redis+sentinel", "redis+cluster"])
def test_garbage_instead_of_a_welcome_is_an_outage(redis: RedisServer, scheme: str, garbage: bytes) -> None:
    with relay(redis.port) as between:
        between.answer = lambda _: [garbage]
        path = {"redis": "/3", "redis+sentinel": "/main"}.get(scheme, "")
        limiter = Limiter("5/hour", store=f"{scheme}://127.0.0.1:{between.port}{path}?timeout={1.5 * TIMEOUT}")
        for call in every_call(limiter):
            assert isinstance(timed_out(call), StoreUnavailableError)
        limiter.close()


class Interrupted(BaseException):
    """What ends a call at any moment: a time limit of a task queue, Ctrl-C, a cancelled task."""


def interrupted_once(monkeypatch: pytest.MonkeyPatch, kind: Any) -> None:
    """Interrupt the next connection of this class before it has chosen its database."""
    send = kind.send_command

    def interrupt(self: Any, *command: Any, **options: Any) -> Any:
        if command[0] == "SELECT":
            monkeypatch.setattr(kind, "send_command", send)
            raise Interrupted
        return send(self, *command, **options)

    monkeypatch.setattr(kind, "send_command", interrupt)


async def test_a_connection_whose_opening_was_interrupted_is_not_used(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has no database yet, and would count in number 0."""
    url = redis.url()
    with client_library.Redis.from_url(url) as raw, client_library.Redis(port=redis.port) as first:
        for number, batching in enumerate((True, False)):
            limiter = Limiter("2/hour", store=RedisStore(url, batching=batching), name=f"half-open-{number}")
            interrupted_once(monkeypatch, client_library.connection.AbstractConnection)
            with pytest.raises(Interrupted):
                limiter.hit("key")
            assert [limiter.hit("key").allowed for _ in range(3)] == [True, True, False]
            interrupted_once(monkeypatch, client_library.asyncio.connection.AbstractConnection)
            with pytest.raises(Interrupted):
                await limiter.store._aclient.call(lambda client: client.ping())  # type: ignore[attr-defined]
            await limiter.store._aclient.call(lambda client: client.set("asynchronous", "here"))  # type: ignore[attr-defined]
            assert raw.get("asynchronous") == b"here"
            await limiter.aclose()
            limiter.close()
        assert not first.keys("*half-open*")
        assert not first.keys("asynchronous")
        assert len(raw.keys("*half-open*")) == 2


@pytest.fixture
def hung_port() -> Iterator[int]:
    """A port at which connecting gets no answer at all: its queue is full."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


@pytest.mark.parametrize("kind", ["redis", "memcached"])
async def test_an_address_that_hangs_leaves_time_for_the_next_one(
    kind: str, redis: RedisServer, memcached: Process, hung_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = redis.port if kind == "redis" else memcached.port
    lookup = socket.getaddrinfo

    def two_addresses(host: Any, *given: Any, **options: Any) -> Any:
        if host != "store.internal":
            return lookup(host, *given, **options)
        if options.get("flags", 0) & socket.AI_NUMERICHOST:
            raise socket.gaierror
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", one)) for one in (hung_port, port)]

    monkeypatch.setattr(socket, "getaddrinfo", two_addresses)
    limiter = Limiter("5/hour", store=f"{kind}://store.internal:{port}?timeout=2", name=f"two addresses {kind}")
    assert limiter.store.decide(limiter._charges("key", 1))[0].remaining == 4
    assert (await limiter.store.adecide(limiter._charges("key", 1)))[0].remaining == 3
    await limiter.aclose()
    limiter.close()


async def test_a_sentinel_that_hangs_leaves_time_for_the_next_one(redis: RedisServer) -> None:
    with sentinel_servers() as watched, relay(redis.port) as silent:
        silent.mute = True
        url = watched.url().replace("://", f"://127.0.0.1:{silent.port},") + "?timeout=2"
        limiter = Limiter("5/hour", store=url)
        assert limiter.store.decide(limiter._charges("key", 1))[0].remaining == 4
        assert (await limiter.store.adecide(limiter._charges("key", 1)))[0].remaining == 3
        await limiter.aclose()
        limiter.close()


async def test_a_cluster_is_asked_over_new_connections_after_the_old_ones_have_ended() -> None:
    with cluster_servers(replicas=0) as cluster:
        limiter = Limiter("100/hour", store=cluster.url() + "?timeout=2", deny_cache=False)
        for left in range(99, 94, -1):
            assert (await limiter.ahit("key")).remaining == left
            for port in cluster.ports:
                with client_library.Redis(port=port) as raw:
                    raw.client_kill_filter(_type="normal", skipme=True)
            await asyncio.sleep(0.05)  # the loop sees the end
        await limiter.aclose()
