"""Nothing grows: event loops, threads and limiters that come and go leave no connection and no descriptor behind.

Nobody calls `aclose` here. A hundred rounds tell a leak from chance; a thousand were run by hand.
"""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis as client_library

from ratelimit_kit import Limiter, MemcachedStore, MemoryStore, RedisStore
from tests.clusters import cluster_servers
from tests.live.stores.test_redis import certificate_in
from tests.processes import Process, RedisServer, free_port, redis_server

pytestmark = pytest.mark.live

ROUNDS = 100

SPARE = 5
"""What pools may have opened meanwhile, up to their size; a leak leaves something of every round."""

LIMIT = "1000000/hour"

Way = Callable[[Limiter], None]

loops: weakref.WeakSet[asyncio.AbstractEventLoop] = weakref.WeakSet()


async def ahit(limiter: Limiter) -> None:
    loops.add(asyncio.get_running_loop())
    assert await limiter.ahit("key")


def in_order(limiter: Limiter) -> None:
    asyncio.run(ahit(limiter))


def closed_at_once(limiter: Limiter) -> None:
    """As programs do that know no `asyncio.run`: the loop's generators are never closed."""
    loop = asyncio.new_event_loop()
    loop.run_until_complete(ahit(limiter))
    loop.close()


def on_uvloop(limiter: Limiter) -> None:
    uvloop = pytest.importorskip("uvloop")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(ahit(limiter))


def both_apis(limiter: Limiter) -> None:
    assert limiter.hit("key")
    in_order(limiter)
    assert limiter.hit("key")


def several_tasks(limiter: Limiter) -> None:
    async def main() -> None:
        await asyncio.gather(*(ahit(limiter) for _ in range(5)), limiter.apeek("key"), limiter.store.aping())

    asyncio.run(main())


def given_up(limiter: Limiter) -> None:
    """The loop ends while a decision is on its way."""

    async def main() -> None:
        await ahit(limiter)
        tasks = [asyncio.ensure_future(limiter.ahit("key")) for _ in range(3)]
        await asyncio.sleep(0)
        assert not all(task.done() for task in tasks) or isinstance(limiter.store, MemoryStore)

    asyncio.run(main())


def threaded(way: Way) -> Way:
    def in_a_thread(limiter: Limiter) -> None:
        thread = threading.Thread(target=way, args=(limiter,))
        thread.start()
        thread.join()

    in_a_thread.__name__ = f"{way.__name__} in a thread"
    return in_a_thread


def in_sync(limiter: Limiter) -> None:
    assert limiter.hit("key")


WAYS = [
    in_order,
    closed_at_once,
    on_uvloop,
    both_apis,
    several_tasks,
    given_up,
    *map(threaded, (in_sync, in_order, closed_at_once)),
]


@pytest.fixture(params=["redis", "redis, unbatched", "memcached", "memory"])
def limiters(request: pytest.FixtureRequest, redis: RedisServer, memcached: Process) -> Callable[[], Limiter]:
    """Makes limiters that count in the same place."""
    url = redis.patient_url()
    stores: dict[str, Callable[[], Any]] = {
        "redis": lambda: url,
        "redis, unbatched": lambda: RedisStore(url, batching=False),
        "memcached": lambda: MemcachedStore(
            f"memcached://127.0.0.1:{memcached.port}", timeout=5, prefix=f"leaks{redis.databases}"
        ),
        "memory": lambda: "memory://",
    }
    return lambda: Limiter(LIMIT, store=stores[request.param](), on_outage="raise")


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def connections(server: RedisServer) -> int:
    with client_library.Redis(port=server.port) as raw:
        return len(raw.client_list())


def left(rounds: int, one: Callable[[], None], *counts: Callable[[], int]) -> list[int]:
    """How many more there are of everything after some rounds than before, once the servers have noticed."""
    counts = (descriptors, threading.active_count, lambda: len(loops), *counts)
    one()
    gc.collect()
    before = [count() for count in counts]
    for _ in range(rounds):
        one()
    end = time.monotonic() + 30
    while True:
        gc.collect()
        found = [count() - earlier for count, earlier in zip(counts, before, strict=True)]
        if max(found) <= SPARE or time.monotonic() > end:
            return found
        time.sleep(0.05)


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize("new", [False, True], ids=["one limiter", "new limiters"])
def test_loops_and_threads_leave_nothing(
    limiters: Callable[[], Limiter], way: Way, new: bool, redis: RedisServer
) -> None:
    limiter = limiters()
    found = left(ROUNDS, lambda: way(limiters() if new else limiter), lambda: connections(redis))
    assert max(found) <= SPARE
    limiter.close()


def test_a_limiter_that_goes_just_before_its_loop_leaves_nothing(
    limiters: Callable[[], Limiter], redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        await ahit(limiters())

    assert max(left(ROUNDS, lambda: asyncio.run(main()), lambda: connections(redis))) <= SPARE
    assert [record for record in caplog.records if record.name == "asyncio"] == []


async def test_limiters_that_come_and_go_on_one_loop_leave_nothing(
    limiters: Callable[[], Limiter], redis: RedisServer
) -> None:
    before = descriptors(), connections(redis)
    for _ in range(ROUNDS):
        limiter = limiters()
        await ahit(limiter)
        del limiter
        await asyncio.sleep(0)
    for _ in range(600):
        gc.collect()
        await asyncio.sleep(0.05)
        if descriptors() <= before[0] + SPARE and connections(redis) <= before[1] + SPARE:
            break
    else:
        pytest.fail(
            f"{descriptors() - before[0]} descriptors and {connections(redis) - before[1]} connections are left"
        )


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RedisServer, str]]:
    """A server that speaks TLS, and its URL."""
    folder: Path = tmp_path_factory.mktemp("tls")
    certificate, key = certificate_in(folder)
    port = free_port()
    options = ["--tls-port", str(port), "--tls-auth-clients", "no", "--tls-ca-cert-file", str(certificate)]
    with redis_server(*options, "--tls-cert-file", str(certificate), "--tls-key-file", str(key)) as server:
        yield server, f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={certificate}&timeout=5"


@pytest.mark.parametrize("way", [in_order, closed_at_once], ids=lambda way: way.__name__)
@pytest.mark.parametrize("batching", [True, False], ids=["batched", "unbatched"])
def test_loops_leave_nothing_of_tls(way: Way, batching: bool, secured: tuple[RedisServer, str]) -> None:
    server, url = secured
    limiter = Limiter(LIMIT, store=RedisStore(url, batching=batching))
    assert max(left(20, lambda: way(limiter), lambda: connections(server))) <= SPARE


def test_loops_leave_nothing_of_a_cluster() -> None:
    """Only those that end in order: of others, redis-py's client leaves what it was disconnecting itself."""
    with cluster_servers() as cluster:
        limiter = Limiter(LIMIT, store=RedisStore(cluster.url(), timeout=5))
        assert max(left(20, lambda: in_order(limiter))) <= SPARE
        limiter.close()
