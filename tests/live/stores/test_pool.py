"""The connections for sync decisions: reused, checked before use, never shared with a parent process."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import redis as client_library

from ratelimit_kit import Limiter, RedisStore, SlidingWindow
from ratelimit_kit.errors import StoreUnavailableError
from ratelimit_kit.stores.redis import driver
from tests.processes import Process, RedisServer, redis_server

pytestmark = pytest.mark.live


def test_an_idle_connection_that_the_server_has_closed_is_not_used(redis: RedisServer) -> None:
    limiter = Limiter("token-bucket: 1000/hour", store=redis.url())
    with client_library.Redis(port=redis.port) as raw:
        for left in range(999, 989, -1):
            assert limiter.hit("key").remaining == left
            raw.client_kill_filter(_type="normal", skipme=True)
    limiter.close()


def test_a_restarted_server_is_an_outage_at_most_while_it_is_away(tmp_path: object) -> None:
    with redis_server() as server:
        limiter = Limiter("1000/hour", store=server.url())
        assert limiter.hit("key")
        port = server.port
    with pytest.raises(StoreUnavailableError):
        limiter.store.decide(limiter._charges("key", 1))
    with redis_server(port=port):
        assert limiter.store.decide(limiter._charges("key", 1))[0].remaining == 999
    limiter.close()


def test_one_connection_serves_one_thread_and_many_serve_many(redis: RedisServer) -> None:
    limiter = Limiter("100000/hour", store=redis.url())
    name = limiter.store._client._address.url.rpartition("/")[2]  # type: ignore[attr-defined]

    def connections() -> int:
        with client_library.Redis(port=redis.port) as raw:
            return sum(one["db"] == name for one in raw.client_list())

    for _ in range(50):
        limiter.hit("key")
    assert connections() == 1
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(lambda _: limiter.hit("key"), range(400)))
    assert connections() <= 8
    limiter.close()
    assert connections() == 0
    assert limiter.hit("key").remaining == 100_000 - 451
    limiter.close()


@pytest.mark.parametrize("kind", ["redis", "memcached"])
def test_a_store_dropped_without_close_closes_its_connections(
    kind: str, redis: RedisServer, memcached: Process
) -> None:
    """Also within a cycle, where the garbage collector would otherwise find the socket open, and warn."""
    limiter = Limiter("5/hour", store=redis.url() if kind == "redis" else f"memcached://127.0.0.1:{memcached.port}")
    assert limiter.hit(f"dropped {kind}")
    store: Any = limiter.store
    pool = store._client._pool
    (idle,) = [one for some in pool._idle.values() for one in some]
    sock = idle.sock if kind == "memcached" else idle._socket
    assert sock.fileno() > 0
    pool.cycle = pool
    del limiter, store, pool, idle
    gc.collect()
    assert sock.fileno() == -1


def test_a_forked_child_has_connections_of_its_own(redis: RedisServer) -> None:
    limiter = Limiter("1000/hour", store=redis.url())
    limiter.hit("key")
    child = os.fork()
    if child == 0:
        good = all(limiter.hit("child").allowed for _ in range(50))
        os._exit(0 if good else 1)
    mine = [limiter.hit("parent").remaining for _ in range(50)]
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert mine == list(range(999, 949, -1))
    assert limiter.peek("child").remaining == 950
    limiter.close()


def test_a_denied_key_costs_no_command_and_is_admitted_in_time() -> None:
    with redis_server() as server:
        limiter = Limiter(SlidingWindow(3, per=0.5), store=server.url())
        with client_library.Redis(port=server.port) as raw:
            for _ in range(3):
                assert limiter.hit("key")
            denied, until = limiter.hit("key"), time.monotonic()
            until += denied.retry_after - 0.1
            raw.config_resetstat()
            hits = 0
            while time.monotonic() < until and hits < 1000:
                assert limiter.hit("key").cached
                hits += 1
            assert "cmdstat_evalsha" not in raw.info("commandstats")
        assert hits > 10
        assert limiter.acquire("key", timeout=2).allowed
        limiter.close()


@pytest.mark.parametrize(
    ("name", "value", "missing"),
    [
        ("PRIVATE", {False: "_gone", True: "_vanished"}, ["Connection._gone", "Connection._vanished"]),
        ("PARSER", None, ["DefaultParser.parse_error"]),
    ],
)
async def test_without_redis_pys_private_names_calls_go_through_its_client_and_one_line_says_so(
    redis: RedisServer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    name: str,
    value: Any,
    missing: list[str],
) -> None:
    monkeypatch.setattr(driver, name, value)
    monkeypatch.setattr(driver, "_told", set())
    for number in range(2):
        limiter = Limiter("3/minute", "5/hour", store=RedisStore(redis.url()))
        key = f"{name}-{number}"
        assert [limiter.hit(key).allowed, (await limiter.ahit(key)).allowed] == [True, True]
        admitted = await asyncio.gather(*[limiter.ahit(key) for _ in range(5)])
        assert sum(one.allowed for one in admitted) == 1
        limiter.close()
        await limiter.aclose()
    told = [record.message for record in caplog.records if "calls go through its client one by one" in record.message]
    assert [message.partition(": calls")[0].partition(" has no ")[2] for message in told] == missing


@pytest.mark.parametrize(("module", "name"), [("redis.connection", "DefaultParser"), ("redis.client", "NEVER_DECODE")])
def test_a_redis_py_without_a_private_name_still_counts(redis: RedisServer, module: str, name: str) -> None:
    script = f"""
import {module}
del {module}.{name}
from ratelimit_kit import Limiter, RedisStore
limiter = Limiter("1/minute", store=RedisStore({redis.url()!r}))
print(limiter.hit("{name}").allowed, limiter.hit("{name}").allowed)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["True", "False"], done.stderr
