"""Every store passes the public conformance suite on its real servers."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis as client_library

from ratelimit_kit import MemcachedStore, RedisStore, Store
from ratelimit_kit.testing import StoreConformance
from tests.clusters import Cluster, Watched, cluster_servers, sentinel_servers, wait_until
from tests.processes import Process, RedisServer, memcached_server, need, running

pytestmark = pytest.mark.live

Clock = Callable[[], int]

prefixes = (f"t{number}" for number in itertools.count())
"""A new prefix for each store, so that it starts empty."""


@pytest.fixture(scope="module")
def watched() -> Iterator[Watched]:
    with sentinel_servers() as servers:
        yield servers


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with cluster_servers() as servers:
        yield servers


@pytest.fixture(scope="module")
def other_memcached() -> Iterator[Process]:
    with memcached_server() as server:
        yield server


@pytest.fixture(scope="module")
def memcached_socket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    socket = tmp_path_factory.mktemp("memcached") / "s"
    user = ["-u", "root"] if os.getuid() == 0 else []
    with running([need("memcached"), "-s", str(socket), *user], 0, wait=False):
        wait_until(socket.exists)
        yield socket


class Live(StoreConformance):
    """The suite on servers shared by many tests; a busy machine needs a longer deadline."""

    __test__ = False
    rounds = 20 if os.environ.get("CI") else 3
    url: str

    def make_store(self, clock: Clock) -> Store:
        return RedisStore(self.url, prefix=next(prefixes), clock=clock, timeout=5)


class TestRedis(Live):
    __test__ = True

    @pytest.fixture(autouse=True)
    def _server(self, redis: RedisServer) -> None:
        self.url = redis.url()


class TestValkeyURL(Live):
    __test__ = True
    rounds = 1

    @pytest.fixture(autouse=True)
    def _server(self, redis: RedisServer) -> None:
        self.url = redis.url().replace("redis", "valkey")


class TestRESP3(Live):
    __test__ = True
    rounds = 1

    @pytest.fixture(autouse=True)
    def _server(self, redis: RedisServer) -> None:
        self.url = redis.url() + "?protocol=3"


class TestOwnClients(Live):
    """A user's clients, with redis-py's default protocol, RESP3, and decoded replies."""

    __test__ = True
    rounds = 1

    @pytest.fixture(autouse=True)
    def _server(self, redis: RedisServer) -> None:
        self.url = redis.url()

    def make_store(self, clock: Clock) -> Store:
        options = {"socket_timeout": 5, "socket_connect_timeout": 5, "decode_responses": True}
        client = client_library.Redis.from_url(self.url, **options)
        return Lent(
            client=client, async_client=PerLoop(self.url, options), prefix=next(prefixes), clock=clock, timeout=5
        )


class PerLoop:
    """An asyncio client that works on any event loop: a real one belongs to its loop."""

    connection_pool = retry = None

    def __init__(self, url: str, options: dict[str, Any]) -> None:
        self._url = url
        self._options = options
        self._clients: dict[asyncio.AbstractEventLoop, Any] = {}

    def __getattr__(self, name: str) -> Any:
        loop = asyncio.get_running_loop()
        if loop not in self._clients:
            library = client_library.asyncio
            pool = library.BlockingConnectionPool.from_url(self._url, max_connections=16, timeout=5, **self._options)
            self._clients[loop] = library.Redis.from_pool(pool)
        return getattr(self._clients[loop], name)

    async def forget(self) -> None:
        client = self._clients.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await client.aclose()


class Lent(RedisStore):
    """Closes the given clients, which the store itself leaves open."""

    def close(self) -> None:
        self._client._client.close()

    async def aclose(self) -> None:
        await self._aclient._given.forget()


class TestSentinel(Live):
    __test__ = True

    @pytest.fixture(autouse=True)
    def _server(self, watched: Watched) -> None:
        self.url = watched.url(database=3)


class TestCluster(Live):
    __test__ = True

    @pytest.fixture(autouse=True)
    def _server(self, cluster: Cluster) -> None:
        self.url = cluster.url()


class TestMemcached(Live):
    __test__ = True

    @pytest.fixture(autouse=True)
    def _server(self, memcached: Process) -> None:
        self.url = f"memcached://127.0.0.1:{memcached.port}"

    def make_store(self, clock: Clock) -> Store:
        return MemcachedStore(self.url, prefix=next(prefixes), clock=clock, timeout=5)


class TestSeveralMemcached(TestMemcached):
    @pytest.fixture(autouse=True)
    def _server(self, memcached: Process, other_memcached: Process) -> None:
        self.url = f"memcached://127.0.0.1:{memcached.port},127.0.0.1:{other_memcached.port}"


class TestMemcachedSocket(TestMemcached):
    rounds = 1

    @pytest.fixture(autouse=True)
    def _server(self, memcached_socket: Path) -> None:
        self.url = f"memcached://{memcached_socket}"
