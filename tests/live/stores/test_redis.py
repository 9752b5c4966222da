"""The Redis store on a real redis-server: exact under concurrency, one round trip, TTLs, failures."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import redis as client_library
from hypothesis import HealthCheck, given, settings
from redis.backoff import NoBackoff
from redis.retry import Retry

from ratelimit_kit import Charge, FixedWindow, Limiter, RedisStore, SlidingWindow, TokenBucket
from ratelimit_kit.core.limit import Limit
from ratelimit_kit.errors import OptionError, StoreContendedError, StoreFullError, StoreUnavailableError
from ratelimit_kit.testing import ManualClock
from ratelimit_kit.testing.model import Model
from tests.clusters import cluster_servers, sentinel_servers, wait_until
from tests.live.hammer import hammer, most_in_any_window
from tests.processes import RedisServer, free_port, need, redis_server
from tests.stores.programs import WIDTHS, around, programs, run

pytestmark = pytest.mark.live

LIMITS = [SlidingWindow(5, per=60), TokenBucket(5, per=60), FixedWindow(5, per="week")]


NO_EXPIRY = -1
"""The reply to PTTL for a key without expiry; for a key that no longer exists it is -2."""


def connect(url: str) -> Any:
    return client_library.Redis.from_url(url, decode_responses=True)


@given(programs)
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_lua_answers_as_python_does(redis: RedisServer, program: list[tuple[str, Any]]) -> None:
    clock = ManualClock(start=1_800_000_000)
    url = redis.url()
    store = RedisStore(url, clock=clock, timeout=5)
    with connect(url) as raw:
        raw.flushdb()
    run(program, clock, Model(clock), store)
    store.close()


@pytest.mark.parametrize("limit", WIDTHS, ids=str)
def test_kept_bytes_tell_apart_what_lies_within_a_window(redis: RedisServer, limit: SlidingWindow) -> None:
    clock = ManualClock(start=1_800_000_000)
    store = RedisStore(redis.url(), clock=clock, timeout=5)
    run(around(limit), clock, Model(clock), store)
    store.close()


async def test_answers_are_read_whatever_a_url_wants_of_others(redis: RedisServer) -> None:
    for batching in (True, False):
        limiter = Limiter("2/minute", store=RedisStore(redis.url() + "?decode_responses=true", batching=batching))
        assert [limiter.hit(f"{batching}").allowed, (await limiter.ahit(f"{batching}")).allowed] == [True, True]
        assert not limiter.hit(f"{batching}")
        limiter.close()
        await limiter.aclose()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("limit", "promise", "possible"),
    [("50/second", 50, 250), ("token-bucket: 50/second burst 50", 100, 300)],
    ids=["sliding-window", "token-bucket"],
)
def test_eight_processes_of_four_threads_never_exceed_the_promise(
    redis: RedisServer, limit: str, promise: int, possible: int
) -> None:
    admissions = hammer(redis.url(), limit, processes=8, threads=4, seconds=5)
    assert most_in_any_window(admissions, 1.0) <= promise
    certain = [one for one in admissions if one.after - admissions[0].before < 5]  # a call may finish after the load
    assert len(certain) <= possible
    assert len(admissions) >= 50  # the first window was used up; how many follow depends on the machine


@pytest.mark.parametrize("limit", LIMITS, ids=str)
def test_a_hundred_threads_admit_exactly_the_limit(redis: RedisServer, limit: Limit) -> None:
    store = RedisStore(redis.url(), timeout=5)
    with ThreadPoolExecutor(100) as pool:
        admitted = sum(pool.map(lambda _: store.decide([Charge("key", limit)])[0].allowed, range(100)))
    store.close()
    assert admitted == 5


@pytest.mark.parametrize("limit", LIMITS, ids=str)
async def test_a_hundred_tasks_admit_exactly_the_limit(redis: RedisServer, limit: Limit) -> None:
    store = RedisStore(redis.url(), timeout=5)
    verdicts = await asyncio.gather(*(store.adecide([Charge("key", limit)]) for _ in range(100)))
    await store.aclose()
    assert sum(one[0].allowed for one in verdicts) == 5


def calls(raw: Any) -> dict[str, int]:
    """The number of commands that clients sent: Redis also counts commands run by scripts, so only EVALSHA is taken."""
    stats = raw.info("commandstats")
    return {name.removeprefix("cmdstat_"): values["calls"] for name, values in stats.items()}


def test_three_limits_over_three_keys_take_one_round_trip_and_move_together() -> None:
    with redis_server() as server:
        url = server.url()
        store = RedisStore(url)
        user, address, everyone = (
            Charge("user:42", SlidingWindow(10, per=60)),
            Charge("ip:192.0.2.7", TokenBucket(10, per=60)),
            Charge("global", SlidingWindow(3, per=60)),
        )
        with connect(url) as raw:
            store.decide([user])
            store.reset([user])
            raw.config_resetstat()
            for _ in range(3):
                assert all(verdict.allowed for verdict in store.decide([user, address, everyone]))
            before = {key: (raw.dump(key), raw.pexpiretime(key)) for key in sorted(raw.keys())}
            for _ in range(7):
                verdicts = store.decide([user, address, everyone])
                assert [verdict.allowed for verdict in verdicts] == [True, True, False]
                assert [verdict.remaining for verdict in verdicts] == [7, 7, 0]
            after = {key: (raw.dump(key), raw.pexpiretime(key)) for key in sorted(raw.keys())}
            sent = calls(raw)
        store.close()
    assert after == before
    assert sent["evalsha"] == 10
    assert not {"eval", "script|load", "multi", "exec"} & set(sent)


@pytest.mark.parametrize("limit", [*LIMITS, SlidingWindow(100, per=0.05), TokenBucket(5000, per=1)], ids=str)
def test_every_key_expires_when_its_state_is_forgotten(redis: RedisServer, limit: Limit) -> None:
    url = redis.url()
    store = RedisStore(url)
    with connect(url) as raw:
        for cost in (1, 3):
            verdict = store.decide([Charge("key", limit, cost)])[0]
            for key in raw.keys():  # noqa: SIM118 - a Redis client is not a dictionary
                assert raw.pttl(key) != NO_EXPIRY
                assert raw.pttl(key) <= verdict.reset_after * 1000 + 1
        store.refund([Charge("key", limit, 1)])
        assert all(raw.pttl(key) != NO_EXPIRY for key in raw.keys())  # noqa: SIM118
        store.refund([Charge("key", limit, 5)])
        assert raw.keys() == []
    store.close()


def test_a_restarted_server_that_knows_no_script_is_taught_it(redis: RedisServer) -> None:
    url = redis.url()
    limiter = Limiter("5/minute", store=url)
    assert limiter.hit("key").remaining == 4
    with connect(url) as raw:
        raw.script_flush()
    assert limiter.hit("key").remaining == 3
    limiter.close()


def test_keys_are_readable_and_hold_no_hash_tag_but_ours(redis: RedisServer) -> None:
    url = redis.url()
    limiter = Limiter("5/minute", store=url, name="api")
    limiter.hit("user:42")
    limiter.hit("{evil} key\r\n\0")
    with connect(url) as raw:
        assert sorted(raw.keys()) == [
            "rlk:2:sw-60000000:{api:%7Bevil%7D%20key%0D%0A%00}",
            "rlk:2:sw-60000000:{api:user:42}",
        ]
    limiter.close()


def test_the_calendar_follows_the_server_where_the_clocks_disagree(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: real() + 90 * 86_400 * 10**9)
    limiter = Limiter("fixed-window: 3/day", store=redis.url())
    decisions = [limiter.hit("key") for _ in range(4)]
    assert [decision.allowed for decision in decisions] == [True, True, True, False]
    assert 0 < decisions[-1].retry_after <= 86_400
    limiter.close()


def test_a_server_that_hangs_costs_one_deadline() -> None:
    with redis_server() as server:
        limiter = Limiter("5/minute", store=server.url())
        assert limiter.hit("key")
        with server.process.hanging():
            begun = time.monotonic()
            with pytest.raises(StoreUnavailableError, match=r"no reply within 0\.25 s"):
                limiter.hit("key")
            assert time.monotonic() - begun < 2
            with pytest.raises(StoreUnavailableError, match="no reply within"):
                asyncio.run(limiter.ahit("key"))
        limiter.close()


def test_nobody_listening_is_said_with_the_address() -> None:
    url = f"redis://:secret@127.0.0.1:{free_port()}/0"
    with pytest.raises(StoreUnavailableError, match=r"redis://\*\*\*@127\.0\.0\.1.*refused.*RLK301") as caught:
        Limiter("5/minute", store=url).hit("key")
    assert "secret" not in str(caught.value)


def test_a_charge_that_timed_out_is_not_sent_again() -> None:
    sent = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(5)
        store = RedisStore(f"redis://127.0.0.1:{listener.getsockname()[1]}/0", timeout=0.2)
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(store.decide, [Charge("key", SlidingWindow(5, per=60))])
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(5)
                while b"EVALSHA" not in b"".join(sent):
                    sent.append(connection.recv(65_536))
                    if b"EVALSHA" not in sent[-1]:
                        connection.sendall(b"+OK\r\n" * sent[-1].count(b"*"))
                with pytest.raises(StoreUnavailableError):
                    answer.result(10)
                listener.settimeout(0.3)
                with pytest.raises(TimeoutError):
                    listener.accept()
    assert b"".join(sent).count(b"EVALSHA") == 1


def test_busy_connections_do_not_fail_open(redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ratelimit_kit.stores.redis.driver.MAX_CONNECTIONS", 1)
    store = RedisStore(redis.url(), timeout=0.1)
    assert store._client._pool.permits.acquire(1)
    with pytest.raises(StoreContendedError, match="RLK302"):
        store.decide([Charge("key", SlidingWindow(5, per=60))])
    decision = Limiter("5/minute", store=store, on_outage="allow").hit("key")
    assert decision.degraded
    assert not decision.allowed
    store.close()


@pytest.mark.parametrize("blocking", [False, True], ids=["refuses", "waits"])
async def test_an_exhausted_pool_of_ones_own_client_does_not_fail_open(redis: RedisServer, blocking: bool) -> None:
    options: dict[str, Any] = {"max_connections": 1, "socket_timeout": 1, "socket_connect_timeout": 1}
    for library in (client_library, client_library.asyncio):
        pools: Any = library
        kind = pools.BlockingConnectionPool if blocking else pools.ConnectionPool
        pool = kind.from_url(redis.url(), **options, **({"timeout": 0.1} if blocking else {}))
        client = library.Redis.from_pool(pool)
        is_plain = library is client_library
        limiter = Limiter(
            "5/minute",
            store=RedisStore(**{"client" if is_plain else "async_client": client}),
            on_outage="allow",
        )
        held = pool.get_connection() if is_plain else await pool.get_connection()
        decision = limiter.hit("key") if is_plain else await limiter.ahit("key")
        assert decision.degraded
        assert not decision.allowed
        for done in (pool.release(held), client.close() if is_plain else client.aclose()):
            if done is not None:
                await done


async def test_a_flood_of_tasks_does_not_fail_open(redis: RedisServer) -> None:
    limiter = Limiter("50/minute", store=redis.patient_url(), on_outage="allow")
    decisions = await asyncio.gather(*(limiter.ahit("key") for _ in range(3000)))
    await limiter.aclose()
    assert sum(decision.allowed for decision in decisions) <= 50
    assert sum(decision.allowed and decision.degraded for decision in decisions) == 0


def test_a_flood_of_threads_does_not_fail_open(redis: RedisServer) -> None:
    limiter = Limiter("50/minute", store=redis.url(), on_outage="allow")
    with ThreadPoolExecutor(200) as pool:
        decisions = list(pool.map(lambda _: limiter.hit("key"), range(3000)))
    limiter.close()
    assert sum(decision.allowed for decision in decisions) <= 50


async def test_a_cancelled_call_leaves_no_answer_for_the_next(redis: RedisServer) -> None:
    many = Limiter("1000000/minute", store=redis.url())
    few = Limiter("7/minute", store=many.store, name="few")
    for number in range(100):
        tasks = [asyncio.create_task((many if task % 2 else few).ahit(f"key {task % 3}")) for task in range(20)]
        await asyncio.sleep(number * 0.00004)
        for task in tasks:
            task.cancel()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        for task, answer in enumerate(answers):
            if not isinstance(answer, asyncio.CancelledError):
                assert answer.limit == (many if task % 2 else few).limits[0]
    assert (await few.ahit("fresh")).remaining == 6
    await many.aclose()


def test_each_event_loop_has_a_client_of_its_own(redis: RedisServer) -> None:
    limiter = Limiter("5/minute", store=redis.url())

    async def hit_and_close() -> int:
        decision = await limiter.ahit("key")
        await limiter.aclose()
        return decision.remaining

    assert [asyncio.run(hit_and_close()) for _ in range(3)] == [4, 3, 2]


async def test_a_primary_that_became_a_replica_is_asked_over_no_old_connection() -> None:
    with redis_server() as server, client_library.Redis(port=server.port) as raw:
        store = RedisStore(server.url(), timeout=5)
        charges = [Charge("key", SlidingWindow(100, per="day"))]

        def connections() -> int:
            return int(raw.info("stats")["total_connections_received"])

        assert store.decide(charges)[0].allowed
        assert (await store.adecide(charges))[0].allowed
        raw.replicaof("127.0.0.1", free_port())
        with pytest.raises(StoreUnavailableError, match=r"read only.*address of the primary"):
            store.decide(charges)
        with pytest.raises(StoreUnavailableError, match=r"read only.*address of the primary"):
            await store.adecide(charges)
        raw.replicaof("NO", "ONE")
        before = connections()
        assert store.decide(charges)[0].remaining == 97
        assert connections() == before + 1
        assert (await store.adecide(charges))[0].remaining == 96
        assert connections() == before + 2
        store.close()
        await store.aclose()


def test_a_unix_socket_is_an_address_too(tmp_path: Path) -> None:
    with redis_server("--unixsocket", str(tmp_path / "redis.sock")):
        limiter = Limiter("1/minute", store=f"unix://{tmp_path}/redis.sock?db=3")
        assert limiter.hit("key")
        assert not limiter.hit("key")
        limiter.close()


def test_a_wrong_password_is_said_without_it(tmp_path: Path) -> None:
    with redis_server("--requirepass", "right") as server:
        assert Limiter("1/minute", store=f"redis://:right@127.0.0.1:{server.port}/0").hit("key")
        with pytest.raises(StoreUnavailableError, match=r"(?i)password.*RLK301") as caught:
            Limiter("1/minute", store=f"redis://:wr0ng@127.0.0.1:{server.port}/0").hit("key")
    assert "wr0ng" not in str(caught.value)


def test_a_full_server_says_so() -> None:
    with redis_server("--maxmemory", "1mb", "--maxmemory-policy", "noeviction") as server:
        with connect(server.url()) as raw, contextlib.suppress(client_library.ResponseError):
            for number in range(10_000):
                raw.set(f"filler {number}", "x" * 10_000)
        with pytest.raises(StoreFullError, match=r"maxmemory.*RLK304"):
            Limiter("1/minute", store=server.url()).hit("key")


def certificate_in(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 and its key, written to a folder."""
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    command = [need("openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    return certificate, key


def test_tls_is_spoken_and_an_unknown_certificate_is_an_outage(tmp_path: Path) -> None:
    certificate, key = certificate_in(tmp_path)
    secure = free_port()
    options = ["--tls-port", str(secure), "--tls-auth-clients", "no", "--tls-ca-cert-file", str(certificate)]
    with redis_server(*options, "--tls-cert-file", str(certificate), "--tls-key-file", str(key)):
        limiter = Limiter("1/minute", store=f"rediss://127.0.0.1:{secure}/0?ssl_ca_certs={certificate}")
        assert [limiter.hit("key").allowed for _ in range(2)] == [True, False]
        assert not asyncio.run(_hit_once(limiter))
        limiter.close()
        with pytest.raises(StoreUnavailableError, match="certificate"):
            Limiter("1/minute", store=f"rediss://127.0.0.1:{secure}/0").hit("key")


async def _hit_once(limiter: Limiter) -> bool:
    decision = await limiter.ahit("key")
    await limiter.aclose()
    return decision.allowed


@pytest.mark.parametrize("options", [{"protocol": 3}, {"protocol": 2}, {"decode_responses": True}], ids=str)
def test_clients_of_ones_own_may_speak_as_they_like(redis: RedisServer, options: dict[str, Any]) -> None:
    client = client_library.Redis.from_url(redis.url(), socket_timeout=1, socket_connect_timeout=1, **options)
    limiter = Limiter("1/minute", "5/hour", store=RedisStore(client=client))
    assert [limiter.hit("key").allowed for _ in range(2)] == [True, False]
    assert limiter.peek("key").remaining == 0
    client.close()


def test_sentinels_and_clusters_speak_resp3_too() -> None:
    with sentinel_servers() as watched, cluster_servers(replicas=0) as cluster:
        for url in (watched.url(database=1), cluster.url()):
            limiter = Limiter("2/minute", "9/hour", store=RedisStore(f"{url}?protocol=3", timeout=5))
            assert limiter.hit("key").remaining == 1
            assert asyncio.run(_hit_once(limiter))
            assert not limiter.hit("key")
            limiter.close()
        limiter = Limiter("1/minute", store=f"{cluster.url()}?protocol=3")
        nodes = limiter.store._client._library_client().get_nodes()  # type: ignore[attr-defined]
        assert {node.redis_connection.get_connection_kwargs()["protocol"] for node in nodes} == {3}
        limiter.close()


async def test_a_slow_machine_learns_the_slots_of_a_cluster_nevertheless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loading the slot map may take longer than a call's deadline: until then calls fail, afterwards they succeed."""
    learn = client_library.asyncio.RedisCluster.initialize

    async def slowly(self: Any) -> Any:
        if self._initialize:
            await asyncio.sleep(0.6)
        return await learn(self)

    monkeypatch.setattr(client_library.asyncio.RedisCluster, "initialize", slowly)
    with cluster_servers(replicas=0) as cluster:
        store = RedisStore(cluster.url(), timeout=0.4)
        charges = [Charge("key", SlidingWindow(5, per=60))]
        answers = await asyncio.gather(*(store.adecide(charges) for _ in range(3)), return_exceptions=True)
        assert [type(one) for one in answers] == [StoreUnavailableError] * 3
        end = time.monotonic() + 20
        while isinstance(
            answer := (await asyncio.gather(store.adecide(charges), return_exceptions=True))[0], Exception
        ):
            assert time.monotonic() < end, answer
        assert answer[0].remaining >= 3  # a decision may have come too late
        await store.aclose()


def test_a_client_that_repeats_calls_by_itself_is_refused(redis: RedisServer) -> None:
    own: dict[str, Any] = {"port": redis.port, "socket_timeout": 1, "socket_connect_timeout": 1}
    for options in ({}, {"retry": None, "retry_on_error": [client_library.TimeoutError]}):
        with pytest.raises(OptionError, match=r"repeats a call up to \d+ times.*Build the client with retry=None"):
            RedisStore(client=client_library.Redis(**own, **options))
        with pytest.raises(OptionError, match="Build the client with retry=None"):
            RedisStore(async_client=client_library.asyncio.Redis(**own, **options))
    with pytest.raises(OptionError, match="up to 1 times"):
        RedisStore(client=client_library.Redis.from_url(f"{redis.url()}?retry_on_timeout=1"))
    client = client_library.Redis(**own, retry=None)
    assert Limiter("1/minute", store=RedisStore(client=client), name="once").hit("key")
    client.close()


def test_a_cluster_client_that_repeats_calls_by_itself_is_refused() -> None:
    with cluster_servers(replicas=0) as servers:
        node = client_library.cluster.ClusterNode("127.0.0.1", servers.ports[0])
        repeating = client_library.cluster.RedisCluster(startup_nodes=[node])
        with pytest.raises(OptionError, match=r"repeats a call up to \d+ times.*NoBackoff\(\), 0\)"):
            RedisStore(client=repeating)
        once = client_library.cluster.RedisCluster(startup_nodes=[node], retry=Retry(NoBackoff(), 0))
        assert Limiter("1/minute", store=RedisStore(client=once)).hit("key")
        for client in (repeating, once):
            client.close()


@pytest.mark.parametrize("kind", ["single", "sentinel", "cluster"])
def test_a_hit_that_a_hanging_server_did_not_answer_is_charged_once_at_most(kind: str) -> None:
    with contextlib.ExitStack() as stack:
        if kind == "single":
            server = stack.enter_context(redis_server())
            url, processes = server.url(), {server.port: server.process}
        elif kind == "sentinel":
            watched = stack.enter_context(sentinel_servers())
            url, processes = watched.url(), {watched.primary.port: watched.primary.process}
        else:
            cluster = stack.enter_context(cluster_servers(replicas=0))
            url, processes = cluster.url(), dict(zip(cluster.ports, cluster.processes, strict=True))
        store = RedisStore(url)
        charges = [Charge("key", SlidingWindow(100, per=60))]
        assert store.decide(charges)[0].remaining == 99
        owner = next(process for port, process in processes.items() if has_keys(port))
        with owner.hanging():
            begun = time.monotonic()
            with pytest.raises(StoreUnavailableError, match="no reply within"):
                store.decide(charges)
            assert time.monotonic() - begun < 3

        def left() -> bool:
            with contextlib.suppress(StoreUnavailableError):
                return store.decide([charges[0]._replace(cost=0)])[0].remaining == 98
            return False

        wait_until(left)
        store.close()


def has_keys(port: int) -> bool:
    with client_library.Redis(port=port) as node:
        return any(node.info("keyspace"))


async def test_a_cluster_that_is_down_is_said_to_be_down() -> None:
    """By the first call within the deadline, in both APIs, through one node and through a cluster client."""
    with cluster_servers(replicas=0) as cluster:
        warm = [RedisStore(cluster.url(), timeout=0.4), RedisStore(f"redis://127.0.0.1:{cluster.ports[0]}/0")]
        charges = [Charge("key", SlidingWindow(5, per=60))]
        warm[0].decide(charges)
        await warm[0].adecide(charges)
        cluster.processes[1].popen.kill()
        with client_library.Redis(port=cluster.ports[0]) as raw:
            wait_until(lambda: raw.execute_command("CLUSTER INFO")["cluster_state"] == "fail")
        for store in (*warm, RedisStore(cluster.url(), timeout=0.4)):
            with pytest.raises(StoreUnavailableError, match=r"(?i)cluster is down.*redis-cli --cluster check"):
                store.decide(charges)
            with pytest.raises(StoreUnavailableError, match=r"(?i)cluster is down.*redis-cli --cluster check"):
                await store.adecide(charges)
            await store.aclose()
            store.close()
