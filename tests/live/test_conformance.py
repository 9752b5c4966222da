"""Every store on its real servers passes the public suite."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ratelimit_kit import MemcachedStore, RedisStore, Store
from ratelimit_kit.testing import StoreConformance
from tests.clusters import Cluster, Watched, cluster_servers, sentinel_servers, wait_until
from tests.processes import Process, RedisServer, memcached_server, need, running

pytestmark = pytest.mark.live

Clock = Callable[[], int]

prefixes = (f"t{number}" for number in itertools.count())
"""Each store is empty under a prefix of its own."""


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
    """The suite on servers that are shared by many tests; a busy machine needs a longer deadline."""

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
