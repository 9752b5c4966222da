"""Faults of a store under load: who is decided without it, what is admitted, how soon the store recovers.

Four threads hit one key without a pause while the fault begins and ends. Each run is a row of
docs/explanation/faults.md; `make faults` writes them if FAULT_TABLE names a file.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import redis
from pymemcache.client.base import Client

from ratelimit_kit import Limiter, MemcachedStore, SlidingWindow
from ratelimit_kit.stores import Charge
from tests.clusters import cluster_servers, sentinel_servers
from tests.live.hammer import START_SECONDS, Passed, hammer, most_in_any_window
from tests.processes import RedisServer, memcached_server, need, redis_server
from tests.relay import dribble, relay

pytestmark = [pytest.mark.live, pytest.mark.slow]

LIMIT, WINDOW = 20, 1.0

QUIET = 1.2
"""Seconds of load before, during and after a fault."""


@dataclass
class Run:
    """One limiter under load, with everything its callers saw."""

    limiter: Limiter
    admitted: list[Passed] = field(default_factory=list)
    degraded: list[float] = field(default_factory=list)
    healthy: list[float] = field(default_factory=list)
    errors: list[Exception] = field(default_factory=list)
    longest: float = 0.0
    healed: float = 0.0
    fault: float = 0.0

    def _load(self, stop: threading.Event) -> None:
        while not stop.is_set():
            before = time.monotonic()
            try:
                decision = self.limiter.hit("key")
            except Exception as error:  # noqa: BLE001 - what callers see is counted
                self.errors.append(error)
                continue
            after = time.monotonic()
            self.longest = max(self.longest, after - before)
            if decision.degraded:
                self.degraded.append(before)
                time.sleep(0.001)
                continue
            self.healthy.append(before)
            if decision.allowed:
                self.admitted.append(Passed(before, after))

    def through(self, fault: Callable[[], None], heal: Callable[[], None], pause: float = QUIET) -> Run:
        stop = threading.Event()
        threads = [threading.Thread(target=self._load, args=(stop,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        try:
            time.sleep(QUIET)
            self.fault = time.monotonic()
            fault()
            time.sleep(pause)
            heal()
            self.healed = time.monotonic()
            end = self.healed + 30
            while time.monotonic() < end and not (self.healthy and self.healthy[-1] > self.healed):
                time.sleep(0.01)
            time.sleep(2 * QUIET)
        finally:
            stop.set()
            for thread in threads:
                thread.join()
            self.limiter.close()
        self.admitted.sort(key=lambda one: one.before)
        return self

    @property
    def recovery(self) -> float:
        """Seconds from the end of the fault to the store's first decision."""
        return min((one for one in self.healthy if one > self.healed), default=float("inf")) - self.healed

    def most(self, *, restarts: bool) -> int:
        """The most admissions in any window; if counters are lost, separately before and after the loss."""
        if not restarts:
            return most_in_any_window(self.admitted, WINDOW)
        before = [one for one in self.admitted if one.after <= self.fault]
        after = [one for one in self.admitted if one.before >= self.fault]
        return max(most_in_any_window(before, WINDOW), most_in_any_window(after, WINDOW))


@contextlib.contextmanager
def load(store: str, limit: str = f"{LIMIT}/second") -> Iterator[Run]:
    yield Run(Limiter(limit, store=store, on_outage="deny"))


Rows = list[tuple[str, ...]]


@pytest.fixture(scope="module")
def rows() -> Iterator[Rows]:
    found: Rows = []
    yield found
    target = os.environ.get("FAULT_TABLE")
    if target:
        head = ("fault", "decided without the store", "admitted in any second", "longest call", "normal again after")
        lines = [
            " | ".join(row) for row in [head, ("---",) * len(head), *sorted(found, key=lambda row: row[0].lower())]
        ]
        Path(target).write_text("".join(f"| {line} |\n" for line in lines))


def check(name: str, run: Run, rows: Rows, *, restarts: bool = False, outage: bool = True, within: float = 3.0) -> None:
    assert run.errors == []
    most = run.most(restarts=restarts)
    assert most <= LIMIT
    assert len(run.admitted) >= LIMIT
    assert run.recovery < within
    assert bool(run.degraded) or not outage
    seen = f"{len(run.degraded)} calls, refused" if run.degraded else "none"
    lost = f"{most}; counters started from zero" if restarts else str(most)
    rows.append((name, seen, lost, f"{run.longest:.2f} s", f"{run.recovery:.1f} s"))


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with redis_server() as one:
        yield one


@pytest.fixture
def redis_port(server: RedisServer) -> int:
    return server.port


@pytest.fixture
def memcached_port() -> Iterator[int]:
    with memcached_server() as one:
        yield one.port


@pytest.fixture
def admin(server: RedisServer) -> Iterator[redis.Redis]:
    with redis.Redis(port=server.port) as client:
        client.ping()
        yield client


def test_redis_is_killed_and_started_again(server: RedisServer, rows: Rows) -> None:
    with load(server.url()) as run, contextlib.ExitStack() as stack:
        run.through(server.process.popen.kill, lambda: stack.enter_context(redis_server(port=server.port)) and None)
    check("Redis killed and started again", run, rows, restarts=True)


def test_processes_that_fail_local_keep_their_promise(server: RedisServer, rows: Rows) -> None:
    """A short outage of a Redis that loses its data: what it admits before and after, and each process, in one window."""
    workers = 2
    start = time.monotonic() + START_SECONDS
    with ThreadPoolExecutor(1) as pool, contextlib.ExitStack() as stack:
        run = pool.submit(
            hammer,
            server.url(),
            f"{LIMIT}/second",
            processes=workers,
            threads=2,
            seconds=4 * QUIET,
            start=start,
            on_outage="local",
            deny_cache=False,  # which would answer for the whole outage
        )
        time.sleep(max(0.0, start + QUIET - time.monotonic()))
        server.process.popen.kill()
        time.sleep(WINDOW / 4)
        stack.enter_context(redis_server(port=server.port))
        healed = time.monotonic()
        admitted = run.result()
    local = [one for one in admitted if one.degraded]
    recovery = next(one.before for one in admitted if one.before > healed and not one.degraded) - healed
    assert LIMIT < len(local) <= workers * LIMIT * 6  # both processes counted, for less than six windows
    most = most_in_any_window(admitted, WINDOW)
    assert most <= (workers + 2) * LIMIT
    assert recovery < 3
    name = f'Redis killed and started again, {workers} processes with "local"'
    lost = f"{most}, of at most {(workers + 2) * LIMIT}; counters started from zero"
    longest = max(one.after - one.before for one in admitted)
    rows.append((name, f"{len(local)} admitted by local counters", lost, f"{longest:.2f} s", f"{recovery:.1f} s"))


def test_redis_hangs(server: RedisServer, rows: Rows) -> None:
    pid = server.process.popen.pid
    with load(server.url()) as run:
        run.through(lambda: os.kill(pid, signal.SIGSTOP), lambda: os.kill(pid, signal.SIGCONT))
    check("Redis hangs (SIGSTOP)", run, rows)
    assert run.longest < 1


def test_redis_forgets_its_scripts(server: RedisServer, admin: redis.Redis, rows: Rows) -> None:
    with load(server.url()) as run:
        run.through(admin.script_flush, lambda: None)
    check("SCRIPT FLUSH", run, rows, outage=False)
    assert run.degraded == []


def test_redis_forgets_everything(server: RedisServer, admin: redis.Redis, rows: Rows) -> None:
    with load(server.url()) as run:
        run.through(admin.flushall, lambda: None)
    check("FLUSHALL", run, rows, restarts=True, outage=False)
    assert run.degraded == []


def test_redis_is_full(server: RedisServer, admin: redis.Redis, rows: Rows) -> None:
    """With a token bucket, where every hit needs memory; a sliding window may trim its log first, and then succeed."""
    with load(server.url(), f"token-bucket: {LIMIT // 2}/second burst {LIMIT // 2}") as run:
        run.through(lambda: admin.config_set("maxmemory", 1), lambda: admin.config_set("maxmemory", 0))
    check("Redis full (noeviction)", run, rows)


def test_redis_becomes_a_replica(server: RedisServer, admin: redis.Redis, rows: Rows) -> None:
    with load(server.url()) as run:
        run.through(lambda: admin.replicaof("127.0.0.1", 1), lambda: admin.replicaof("NO", "ONE"))
    check("Redis becomes a replica (READONLY)", run, rows)


def test_redis_takes_no_more_connections(server: RedisServer, admin: redis.Redis, rows: Rows) -> None:
    def full() -> None:
        admin.config_set("maxclients", 1)
        admin.client_kill_filter(_type="normal", skipme=True)

    with load(server.url()) as run:
        run.through(full, lambda: admin.config_set("maxclients", 1000))
    check("Redis at its connection limit", run, rows)


@pytest.mark.parametrize("kind", ["redis", "memcached"])
def test_a_gateway_forgets_connections(kind: str, redis_port: int, memcached_port: int, rows: Rows) -> None:
    target = redis_port if kind == "redis" else memcached_port
    with relay(target) as between, load(f"{kind}://127.0.0.1:{between.port}") as run:
        run.through(between.forget, lambda: None, pause=0)
    check(f"a gateway forgets connections ({kind.capitalize()})", run, rows, within=1)


@pytest.mark.parametrize("kind", ["redis", "memcached"])
def test_replies_come_a_byte_at_a_time(kind: str, redis_port: int, memcached_port: int, rows: Rows) -> None:
    def dribbles() -> None:
        between.answer = dribble

    def heals() -> None:
        between.answer = None

    target = redis_port if kind == "redis" else memcached_port
    with relay(target) as between, load(f"{kind}://127.0.0.1:{between.port}") as run:
        run.through(dribbles, heals)
    check(f"replies come a byte at a time ({kind.capitalize()})", run, rows, within=1)
    assert run.longest < 1


def test_a_primary_fails_over(rows: Rows) -> None:
    with sentinel_servers() as servers, load(servers.url()) as run:
        run.through(servers.primary.process.popen.kill, lambda: None, pause=0)
    # the replica may lack the primary's last hits
    check("Sentinel failover", run, rows, restarts=True, within=15)


def test_a_slot_moves_to_another_node(rows: Rows) -> None:
    with cluster_servers(replicas=0) as cluster, load(cluster.url()) as run, contextlib.ExitStack() as stack:
        nodes = [stack.enter_context(redis.Redis(port=port)) for port in cluster.ports]
        ids = [node.execute_command("CLUSTER", "MYID").decode() for node in nodes]

        def move() -> None:
            name = next(iter(next(keys for node in nodes if (keys := node.keys("*")))))
            slot = int(nodes[0].execute_command("CLUSTER", "KEYSLOT", name))
            source = next(n for n, node in enumerate(nodes) if node.keys("*"))
            target = (source + 1) % 3
            nodes[target].execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[source])
            nodes[source].execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[target])
            nodes[source].execute_command("MIGRATE", "127.0.0.1", cluster.ports[target], name, 0, 1000)
            for node in (nodes[target], nodes[source], nodes[3 - source - target]):
                node.execute_command("CLUSTER", "SETSLOT", slot, "NODE", ids[target])

        run.through(move, lambda: None)
    check("Cluster slot moved", run, rows, outage=False)


def test_a_cluster_of_six_nodes_is_resharded(rows: Rows) -> None:
    """redis-cli moves a third of all slots while a key with two limits, both in one of these slots, is hit."""
    with cluster_servers() as cluster, contextlib.ExitStack() as stack:
        limiter = Limiter(f"{LIMIT}/second", "100000/hour", store=cluster.url(), on_outage="deny")
        run = Run(limiter)
        limiter.hit("key")
        nodes = [stack.enter_context(redis.Redis(port=port)) for port in cluster.ports[:3]]
        source = next(number for number, node in enumerate(nodes) if node.keys("*"))
        ids = [node.execute_command("CLUSTER", "MYID").decode() for node in nodes]

        def reshard() -> None:
            words = ["reshard", f"127.0.0.1:{cluster.ports[0]}", "--cluster-from", ids[source]]
            words += ["--cluster-to", ids[(source + 1) % 3], "--cluster-slots", "5461", "--cluster-yes"]
            done = subprocess.run(
                [need("redis-cli"), "--cluster", *words], capture_output=True, text=True, check=False, timeout=120
            )
            assert done.returncode == 0, done.stdout[-500:] + done.stderr

        run.through(reshard, lambda: None, pause=0)
        assert not nodes[source].keys("*")
    check("Cluster of 6 nodes resharded (5461 slots)", run, rows, outage=False)


def test_memcached_is_restarted(rows: Rows) -> None:
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(memcached_server())
        with load(f"memcached://127.0.0.1:{server.port}") as run:
            run.through(server.popen.kill, lambda: stack.enter_context(memcached_server(port=server.port)) and None)
    check("Memcached restarted", run, rows, restarts=True)


def test_memcached_hangs(rows: Rows) -> None:
    with memcached_server() as server, load(f"memcached://127.0.0.1:{server.port}") as run:
        pid = server.popen.pid
        run.through(lambda: os.kill(pid, signal.SIGSTOP), lambda: os.kill(pid, signal.SIGCONT))
    check("Memcached hangs (SIGSTOP)", run, rows)
    assert run.longest < 1


def test_memcached_drops_the_key(rows: Rows) -> None:
    with contextlib.ExitStack() as stack:
        port = stack.enter_context(memcached_server()).port
        admin = stack.enter_context(contextlib.closing(Client(("127.0.0.1", port), default_noreply=False)))
        run = stack.enter_context(load(f"memcached://127.0.0.1:{port}"))
        run.through(admin.flush_all, lambda: None)
    check("Memcached drops the key", run, rows, restarts=True, outage=False)
    assert run.degraded == []


@pytest.mark.parametrize("skew", [0.0, 2.0])
def test_the_clock_of_one_application_process_is_ahead(skew: float, rows: Rows) -> None:
    """Without `skew` a window may be too short by the difference; with it, never."""
    limit = SlidingWindow(LIMIT, per=3)
    with memcached_server() as server:
        url = f"memcached://127.0.0.1:{server.port}"
        stores = [
            MemcachedStore(url, skew=skew),
            MemcachedStore(url, skew=skew, clock=lambda: time.time_ns() + 2 * 10**9),
        ]
        admitted = []
        end = time.monotonic() + 8
        turn = 0
        while time.monotonic() < end:
            store = stores[turn % 2] if turn % 40 < 20 else stores[0]
            turn += 1
            before = time.monotonic()
            if store.decide([Charge("key", limit)])[0].allowed:
                admitted.append(Passed(before, time.monotonic()))
        for store in stores:
            store.close()
    most = most_in_any_window(admitted, 3 if skew else 1)
    assert most <= LIMIT
    promise = f"{most} in any 3 s, of {LIMIT}" if skew else f"{most} in any 1 s, of {LIMIT} in 3 s"
    rows.append((f"Memcached, one application's clock 2 s ahead, skew={skew:g}", "none", promise, "", ""))


@pytest.mark.parametrize("kind", ["redis", "memcached"])
def test_a_child_that_is_forked_after_the_first_use_has_connections_of_its_own(
    kind: str, server: RedisServer, rows: Rows
) -> None:
    with memcached_server() as cache:
        limiter = Limiter("5/minute", store=server.url() if kind == "redis" else f"memcached://127.0.0.1:{cache.port}")
        assert limiter.hit("key").remaining == 4
        children = []
        for _ in range(2):
            child = os.fork()
            if child == 0:
                os._exit(0 if limiter.hit("key").allowed and asyncio.run(limiter.ahit("other")).allowed else 1)
            children.append(child)
        assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0, 0]
        assert limiter.peek("key").remaining == 2
        limiter.close()
    rows.append((f"fork after the first use ({kind.capitalize()})", "none", "exactly the limit", "", "0.0 s"))


def test_event_loops_come_and_go(server: RedisServer, rows: Rows) -> None:
    limiter = Limiter("5/minute", store=server.url())

    async def once() -> int:
        decision = await limiter.ahit("key")
        await limiter.aclose()
        return decision.remaining

    assert [asyncio.run(once()) for _ in range(3)] == [4, 3, 2]
    rows.append(("event loop closed, another opened", "none", "exactly the limit", "", "0.0 s"))
