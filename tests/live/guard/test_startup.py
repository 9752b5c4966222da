"""What a policy checks before it serves, on misconfigured real Redis servers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis as client_library

from ratelimit_kit import Policy, RedisStore, Rule
from ratelimit_kit.cli import main
from ratelimit_kit.errors import NoTimeoutError, ReplicaError, StoreUnreachableError
from ratelimit_kit.stores.redis import checks
from ratelimit_kit.wsgi import RateLimitMiddleware
from tests.clusters import cluster_servers
from tests.processes import RedisServer, free_port, redis_server
from tests.test_wsgi import call, hello

pytestmark = pytest.mark.live

RULES = (Rule("5/minute", name="login"), Rule("100/minute", name="site"))


@pytest.fixture(scope="module")
def evicting() -> Iterator[RedisServer]:
    with redis_server("--maxmemory-policy", "allkeys-lru") as server:
        yield server


def test_a_healthy_server_is_started_on_without_a_word(redis: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    url = redis.url()
    policy = Policy(*RULES, store=url)
    policy.start()
    assert list(policy.findings(live=True)) == []
    assert caplog.text == ""
    with client_library.Redis.from_url(url) as raw:
        assert raw.dbsize() == 0


def test_an_evicting_server_is_warned_of(evicting: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    Policy(*RULES, store=evicting.url()).start()
    assert "has maxmemory-policy allkeys-lru" in caplog.text
    assert caplog.text.count("[RLK251]") == 1


def test_a_replica_is_refused_and_the_primary_named(redis: RedisServer) -> None:
    with redis_server("--replicaof", f"127.0.0.1 {redis.port}") as replica:
        policy = Policy(*RULES, store=f"redis://127.0.0.1:{replica.port}/0")
        with pytest.raises(ReplicaError, match=rf"Use the address of its primary, 127.0.0.1:{redis.port} \[RLK205\]"):
            policy.start()


@pytest.mark.parametrize(
    ("options", "missing"),
    [
        ({"socket_timeout": None}, "without socket_timeout:"),
        (
            {"socket_timeout": None, "socket_connect_timeout": None},
            "without socket_timeout and socket_connect_timeout:",
        ),
    ],
    ids=["calls", "both"],
)
def test_a_client_that_would_wait_for_ever_is_refused(
    redis: RedisServer, options: dict[str, None], missing: str
) -> None:
    client = client_library.Redis(port=redis.port, retry=None, **options)
    asynchronous = client_library.asyncio.Redis(port=redis.port, retry=None, **options)
    for clients in ({"client": client}, {"client": client, "async_client": asynchronous}):
        with pytest.raises(NoTimeoutError, match=missing):
            Policy(*RULES, store=RedisStore(**clients)).start()


def test_a_client_with_time_outs_is_fine(redis: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    client = client_library.Redis(port=redis.port, socket_timeout=1, socket_connect_timeout=1, retry=None)
    Policy(*RULES, store=RedisStore(client=client)).start()
    assert caplog.text == ""


@pytest.mark.parametrize(("offset", "word"), [(-90, "90 s ahead of"), (90, "90 s behind")])
def test_clocks_that_differ_are_warned_of(
    redis: RedisServer, offset: int, word: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = checks.time.time

    class Clock:
        @staticmethod
        def time() -> float:
            return now() + offset

    monkeypatch.setattr(checks, "time", Clock)
    Policy(*RULES, store=redis.url()).start()
    assert word in caplog.text
    assert caplog.text.count("[RLK253]") == 1


def test_a_user_that_may_not_run_scripts_is_refused(tmp_path: Path) -> None:
    with redis_server("--user", *["app", "on", "nopass", "~*", "+@all", "-@scripting"]) as server:
        policy = Policy(*RULES, store=f"redis://app:x@127.0.0.1:{server.port}/0")
        with pytest.raises(StoreUnreachableError, match="no permissions"):
            policy.start()


def test_a_user_that_may_only_decide_is_enough() -> None:
    with redis_server("--user", *["app", "on", "nopass", "~rlk:*", "+@all", "-info"]) as server:
        Policy(*RULES, store=f"redis://app:x@127.0.0.1:{server.port}/0").start()


def test_a_node_of_a_cluster_that_cannot_decide_several_rules_is_refused() -> None:
    with redis_server("--cluster-enabled", "yes", "--cluster-port", str(free_port()), "--databases", "1") as server:
        with client_library.Redis(port=server.port) as raw:
            raw.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        with pytest.raises(StoreUnreachableError, match=r"\[RLK204\]"):
            Policy(*RULES, store=f"redis://127.0.0.1:{server.port}/0").start()


def test_a_cluster_that_splits_the_rules_is_warned_of_and_works(caplog: pytest.LogCaptureFixture) -> None:
    with cluster_servers(replicas=0) as cluster:
        Policy(RULES[0], store=cluster.url()).start()
        assert caplog.text == ""
        policy = Policy(*RULES, store=cluster.url())
        policy.start()
        assert "of the rules login, site has counters on several nodes" in caplog.text
        assert caplog.text.count("[RLK252]") == 1
        application = RateLimitMiddleware(hello, policy)
        assert [call(application)[0][:3] for _ in range(7)] == ["200"] * 5 + ["429"] * 2
        policy.store.close()


def test_check_asks_the_store_only_when_told_to(
    evicting: RedisServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "ratelimit.toml"
    file.write_text(f'store = "{evicting.url()}"\n[[rules]]\nlimits = "5/minute"\n')
    assert main(["check", str(file)]) == 0
    assert "a server would start. The store was not checked" in capsys.readouterr().out
    assert main(["check", str(file), "--live"]) == 0
    assert "warning RLK251: " in capsys.readouterr().out
    assert main(["check", str(file), "--live", "--strict", "--json"]) == 1
    answer = json.loads(capsys.readouterr().out)
    assert answer["ok"]
    assert [one["code"] for one in answer["findings"]] == ["RLK251"]
