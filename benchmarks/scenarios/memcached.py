"""State in Memcached: one connection, threads and tasks, on one hot key and on many keys."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import limits
from limits.storage import MemcachedStorage
from limits.strategies import FixedWindowRateLimiter, SlidingWindowCounterRateLimiter
from pymemcache.client.base import Client

from benchmarks.harness import Contestant, Work, calls, floor, ours, peer, scenario, tasks
from benchmarks.place import Place
from benchmarks.scenarios.memory import MANY
from benchmarks.scenarios.redis_sync import OURS
from ratelimit_kit import Limiter, MemcachedStore

THREADS = 8
INCR = "pymemcache, incr"


def client(place: Place) -> Client:
    """A client of the floor, with the counters that it increments."""
    one = Client(("127.0.0.1", place.memcached_port), no_delay=True, connect_timeout=1, timeout=1)
    for number in range(THREADS):
        one.set(f"counter-{number}", "1", noreply=False)
    return one


def limiter(place: Place, limit: str, name: str) -> Limiter:
    """Ours, with a deadline that a busy machine does not miss."""
    return Limiter(limit, store=MemcachedStore(f"memcached://127.0.0.1:{place.memcached_port}", timeout=5), name=name)


def threads(place: Place, hits: list[Callable[[int], Any]]) -> Work:
    """Let a thread call each of `hits` with a running number; a sample is the time that went by, over the number of calls."""
    pool = place.stack.enter_context(ThreadPoolExecutor(len(hits)))

    def one(hit: Callable[[int], Any], barrier: threading.Barrier) -> None:
        barrier.wait()
        for number in range(50):
            assert hit(number)

    def work(seconds: float) -> list[float]:
        samples = []
        end = time.perf_counter() + seconds
        while (begun := time.perf_counter()) < end:
            barrier = threading.Barrier(len(hits))
            for done in [pool.submit(one, hit, barrier) for hit in hits]:
                done.result()
            samples.append((time.perf_counter() - begun) / len(hits) / 50)
        return samples

    return work


@scenario("memcached, one connection, allowed")
def memcached_allowed(place: Place) -> list[Contestant]:
    """Every hit is admitted; the floor is the least that Memcached can be asked for, one trip without a decision."""
    one = client(place)
    one.set("state", b"1764109123456789 4999999", 60, noreply=False)

    def read_and_write() -> Any:
        value, token = one.gets("state")
        return one.cas("state", value, token, 60, noreply=False)

    contestants = [
        floor(INCR, calls(one.incr, "counter-0", 1, chunk=1)),
        peer("pymemcache, one gets and one cas", calls(read_and_write, chunk=1)),
    ]
    contestants += [ours(name, calls(limiter(place, limit, name).hit, "hot", chunk=1), 2.6) for name, limit in OURS]
    item = limits.RateLimitItemPerHour(MANY)
    for name, strategy in (
        ("fixed window", FixedWindowRateLimiter),
        ("sliding window counter", SlidingWindowCounterRateLimiter),
    ):
        hit = strategy(MemcachedStorage(f"memcached://127.0.0.1:{place.memcached_port}")).hit
        contestants.append(peer(f"limits, {name}", calls(hit, item, name.replace(" ", "-"), chunk=1)))
    return contestants


@scenario("memcached, 8 threads, one hot key", note="time over calls, all threads at once")
def memcached_hot_key(place: Place) -> list[Contestant]:
    """Eight threads fight for one counter; the floor increments one, each over a connection of its own."""
    clients = [client(place) for _ in range(THREADS)]
    contestants = [floor(INCR, threads(place, [lambda _, one=one: one.incr("counter-0", 1) for one in clients]))]
    for name, limit in OURS:
        hit = limiter(place, limit, name).hit
        contestants.append(ours(name, threads(place, [lambda _, hit=hit: hit("hot")] * THREADS), 2.5))
    return contestants


@scenario("memcached, 8 threads, 1,000 keys", note="time over calls, all threads at once")
def memcached_many_keys(place: Place) -> list[Contestant]:
    """Eight threads that seldom meet on a counter."""
    clients = [client(place) for _ in range(THREADS)]
    each = enumerate(clients)
    contestants = [
        floor(INCR, threads(place, [lambda _, n=n, one=one: one.incr(f"counter-{n}", 1) for n, one in each]))
    ]
    for name, limit in OURS:
        hit = limiter(place, limit, f"many {name}").hit
        hits = [lambda number, hit=hit, n=n: hit(f"key-{(number * 7 + n * 131) % 1000}") for n in range(THREADS)]
        contestants.append(ours(name, threads(place, hits)))
    return contestants


def async_contestants(place: Place, number: int) -> list[Contestant]:
    """That many tasks on a key each and on one; pymemcache has no asyncio, so its floor is a sync incr."""
    contestants = [floor(INCR + ", sync", calls(client(place).incr, "counter-0", 1, chunk=1))]
    for name, limit in OURS:
        made = limiter(place, limit, f"tasks {name}")
        contestants.append(
            ours(
                f"{name}, a key per task", tasks(place.stack, number, lambda task, made=made: made.ahit(f"key-{task}"))
            )
        )
    hot = limiter(place, OURS[0][1], "hot")
    contestants.append(ours(f"{OURS[0][0]}, one hot key", tasks(place.stack, number, lambda _: hot.ahit("hot"))))
    return contestants


@scenario("memcached async, 1 task")
def memcached_async_1(place: Place) -> list[Contestant]:
    """One task that hits again as soon as it is answered."""
    return async_contestants(place, 1)


@scenario("memcached async, 50 tasks", note="time over calls, all tasks at once")
def memcached_async_50(place: Place) -> list[Contestant]:
    """Fifty of them."""
    return async_contestants(place, 50)
