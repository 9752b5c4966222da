"""The commands against real servers and real sites: doctor, verify, inspect, reset."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import redis as redis_py

from ratelimit_kit import Limiter, Policy
from ratelimit_kit.cli import main
from ratelimit_kit.stores.keys import FORMAT, counter_key, key_prefix, scoped
from ratelimit_kit.stores.memcached.states import FORMAT as MEMCACHED_FORMAT
from ratelimit_kit.web.http.messages import Request
from tests.clusters import wait_until
from tests.processes import (
    EXAMPLES,
    Process,
    RedisServer,
    free_port,
    memcached_server,
    python_program,
    redis_server,
    request,
    running,
)

pytestmark = pytest.mark.live

APPS = Path(__file__).parent.parent / "apps"


def doctor(
    *arguments: str, cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> tuple[int, dict[str, Any]]:
    """The exit status, and the findings by check."""
    import os

    command = [python_program("ratelimit-kit"), "doctor", "--json", *arguments]
    ended = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=cwd, env={**os.environ, **(env or {})}
    )
    assert not ended.stderr
    return ended.returncode, {one["check"]: one for one in json.loads(ended.stdout)["findings"]}


def statuses(found: dict[str, Any]) -> dict[str, str]:
    return {check: finding["status"] for check, finding in found.items()}


def test_a_healthy_redis_passes(redis: RedisServer) -> None:
    status, found = doctor(redis.url())
    assert status == 0
    assert statuses(found) == {
        "configuration": "skip", "client library": "pass", "workers": "pass", "server": "pass", "primary": "pass",
        "eviction": "pass", "clock": "pass", "script": "pass", "counting": "pass", "latency": "pass",
    }  # fmt: skip
    assert found["client library"]["found"] == f"redis {redis_py.__version__}"
    assert re.search(r"answers: (Redis|Valkey) \d", found["server"]["found"])


def test_doctor_leaves_nothing_behind(redis: RedisServer) -> None:
    url = redis.url()
    assert doctor(url)[0] == 0
    with redis_py.Redis.from_url(url) as client:
        assert client.keys() == []


def test_a_stopped_redis_fails_and_the_rest_is_skipped() -> None:
    status, found = doctor(f"redis://127.0.0.1:{free_port()}/0")
    assert status == 1
    assert found["server"]["status"] == "fail"
    assert "Connection refused" in found["server"]["found"]
    assert found["server"]["fix"].startswith("sudo systemctl start redis-server; then `redis-cli")
    assert {one for one in statuses(found).values() if one == "skip"}
    assert [check for check, one in statuses(found).items() if one == "fail"] == ["server"]


def test_an_evicting_redis_is_a_warning_and_a_failure_when_strict() -> None:
    with redis_server("--maxmemory", "20mb", "--maxmemory-policy", "allkeys-lru") as server:
        status, found = doctor(server.url())
        assert status == 0
        assert [check for check, one in statuses(found).items() if one != "pass"] == ["configuration", "eviction"]
        assert (found["eviction"]["status"], found["eviction"]["code"]) == ("warn", "RLK251")
        assert "maxmemory-policy allkeys-lru" in found["eviction"]["found"]
        assert "redis-cli config set maxmemory-policy noeviction" in found["eviction"]["fix"]
        assert doctor(server.url(), "--strict")[0] == 1


def test_a_replica_fails_and_names_its_primary() -> None:
    with (
        redis_server("--repl-diskless-sync-delay", "0") as primary,
        redis_server("--replicaof", f"127.0.0.1 {primary.port}") as replica,
        redis_py.Redis(port=replica.port) as client,
    ):
        wait_until(lambda: client.info()["master_link_status"] == "up")
        status, found = doctor(replica.url())
    assert status == 1
    assert (found["primary"]["status"], found["primary"]["code"]) == ("fail", "RLK205")
    assert f"its primary, 127.0.0.1:{primary.port}" in found["primary"]["found"]
    assert found["primary"]["fix"].startswith("the primary's address")
    assert found["counting"]["status"] == "fail"
    assert "READONLY" in found["counting"]["found"].upper() or "read only" in found["counting"]["found"]


def test_memcached_passes(memcached: Process) -> None:
    status, found = doctor(f"memcached://127.0.0.1:{memcached.port}")
    assert status == 0
    assert set(statuses(found).values()) == {"pass", "skip"}
    assert "answers: memcached 1." in found["server"]["found"]
    assert found["script"]["found"] == "compare-and-set works"


def test_a_stopped_memcached_fails() -> None:
    with memcached_server() as server:
        url = f"memcached://127.0.0.1:{server.port}"
    status, found = doctor(url)
    assert (status, found["server"]["status"]) == (1, "fail")
    assert "sudo systemctl start memcached" in found["server"]["fix"]


def test_locmem_under_four_workers_fails_twice() -> None:
    site = {"DJANGO_SETTINGS_MODULE": "website.settings"}
    status, found = doctor(
        "--store", "django-cache://default", "--workers", "4", cwd=EXAMPLES / "django_site", env=site
    )
    assert status == 1
    assert (found["workers"]["status"], found["workers"]["code"]) == ("fail", "RLK201")
    assert "(LocMemCache) counts per process, and workers=4 is declared" in found["workers"]["found"]
    assert (found["cache"]["status"], found["cache"]["code"]) == ("fail", "RLK203")
    assert 'CACHES["ratelimit"] = {' in found["cache"]["found"]
    assert "django-cache://" in found["cache"]["fix"]


def test_a_django_project_is_read_from_its_setting(redis: RedisServer) -> None:
    site = {"DJANGO_SETTINGS_MODULE": "website.settings", "STORE_URL": redis.patient_url()}
    status, found = doctor("--django", "--workers", "4", cwd=EXAMPLES / "django_site", env=site)
    assert status == 0
    assert found["configuration"]["found"] == "the rules are contact"
    status, found = doctor("--django", env={"DJANGO_SETTINGS_MODULE": "nowhere.settings"})
    assert status == 1
    assert "cannot be loaded: ModuleNotFoundError: No module named 'nowhere'" in found["configuration"]["found"]


def test_a_memory_store_is_judged_by_the_workers() -> None:
    assert statuses(doctor("memory://")[1])["workers"] == "warn"
    assert statuses(doctor("memory://", "--workers", "1")[1])["workers"] == "pass"
    assert statuses(doctor("memory://", "--workers", "4")[1])["workers"] == "fail"
    status, found = doctor("memory://", "--workers", "1", env={"RATELIMIT_KIT_WORKERS": "4"})
    assert (status, found["workers"]["status"]) == (0, "warn")
    assert "RATELIMIT_KIT_WORKERS=4: the former is used" in found["workers"]["found"]


def test_rights_that_are_missing_are_named(redis: RedisServer) -> None:
    with redis_py.Redis(port=redis.port) as client:
        client.execute_command("ACL", "SETUSER", "asker", "on", ">pw", "~*", "+@all", "-info")
        client.execute_command("ACL", "SETUSER", "looker", "on", ">pw", "~*", "+@all", "-evalsha", "-eval")
        try:
            status, found = doctor(f"redis://asker:pw@127.0.0.1:{redis.port}/0")
            assert (status, found["primary"]["status"], found["eviction"]["status"]) == (0, "warn", "warn")
            assert "may not run INFO" in found["primary"]["found"]
            status, found = doctor(f"redis://looker:pw@127.0.0.1:{redis.port}/0")
            assert status == 1
            assert (found["server"]["status"], found["script"]["status"]) == ("pass", "fail")
            assert "redis-cli acl setuser NAME +evalsha" in found["script"]["fix"]
            status, found = doctor(f"redis://asker:wrong@127.0.0.1:{redis.port}/0")
            assert (status, found["server"]["status"]) == (1, "fail")
            assert "the right user and password" in found["server"]["fix"]
        finally:
            client.execute_command("ACL", "DELUSER", "asker", "looker")


@contextlib.contextmanager
def site(*options: str, **env: str) -> Iterator[str]:
    port = free_port()
    command = [python_program("gunicorn"), *options, "--log-level", "warning", "limited_app:application"]
    with running([*command, "--bind", f"127.0.0.1:{port}"], port, cwd=APPS, env=env):
        yield f"http://127.0.0.1:{port}/"


def verify(url: str, *options: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, Any]]:
    status = main(["verify", url, "--json", *options])
    said = capsys.readouterr()
    assert not said.err
    return status, json.loads(said.out)


def checks(report: dict[str, Any]) -> dict[str, str]:
    return {one["check"]: one["status"] for one in report["findings"]}


@pytest.mark.parametrize("concurrency", ["1", "8"])
def test_verify_proves_a_limit_over_four_workers(
    redis: RedisServer, concurrency: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with site("--workers", "4", STORE_URL=redis.patient_url(), LIMIT="10/3 seconds") as url:
        options = ["--limit", "10", "--method", "POST", "--concurrency", concurrency]
        status, report = verify(url, *options, capsys=capsys)
    assert status == 0, report
    assert set(checks(report).values()) == {"pass"}
    assert (report["sent"], report["admitted"]) == (15, 10)
    if concurrency == "1":
        assert report["statuses"] == [200] * 10 + [429] * 5
    waited = next(one for one in report["findings"] if one["check"] == "after waiting")
    assert "was admitted (200)" in waited["found"]


@pytest.mark.parametrize("family", ["draft6", "x-ratelimit"])
def test_verify_reads_the_older_fields(redis: RedisServer, family: str, capsys: pytest.CaptureFixture[str]) -> None:
    with site("--workers", "2", STORE_URL=redis.patient_url(), HEADERS=family) as url:
        status, report = verify(url, "--limit", "10", "--wait", "0", capsys=capsys)
    assert status == 0, report
    assert checks(report)["fields"] == "pass"
    assert checks(report)["after waiting"] == "skip"


def test_verify_finds_workers_that_count_apart(capsys: pytest.CaptureFixture[str]) -> None:
    with site("--workers", "4", ALLOW_PER_PROCESS="1", DELAY="0.05") as url:
        status, report = verify(
            url, "--limit", "10", "--margin", "35", "--concurrency", "8", "--wait", "0", capsys=capsys
        )
    assert status == 1
    assert checks(report)["count"] == "fail"
    assert checks(report)["one counter"] == "fail"
    assert report["admitted"] > 10


def test_verify_tells_a_wrong_limit(redis: RedisServer, capsys: pytest.CaptureFixture[str]) -> None:
    with site("--workers", "2", STORE_URL=redis.patient_url()) as url:
        status, report = verify(url, "--limit", "3", "--wait", "0", capsys=capsys)
        assert (status, checks(report)["count"], checks(report)["fields"]) == (1, "fail", "fail")
        status, report = verify(url, "--limit", "10", "--wait", "0", capsys=capsys)
    assert status == 0
    assert checks(report)["count"] == "warn"  # eight were used before


class Liar(BaseHTTPRequestHandler):
    """Refuses everyone forever, but says that a second is enough; sends bytes that could control a terminal."""

    def do_GET(self) -> None:
        self.send_response(429)
        self.send_header("Retry-After", "1")
        self.send_header("Content-Type", "text/\x1b[2Jhtml")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def test_verify_catches_a_retry_after_that_lies(capsys: pytest.CaptureFixture[str]) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), Liar) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        status = main(["verify", f"http://127.0.0.1:{server.server_port}/", "--limit", "2"])
        server.shutdown()
    out = capsys.readouterr().out
    assert status == 1
    assert "FAIL  after waiting   the request after 1 s was refused: Retry-After came too early" in out
    assert "\x1b" not in out


POLICY = """
store = "{url}"
[[rules]]
limits = ["3/minute", "100/day"]
name = "site"
[[rules]]
limits = "2/minute"
key = ["user", "ip"]
paths = ["/login"]
name = "login"
[[rules]]
limits = "5/minute"
key = "header:x-api-key"
paths = ["/api"]
name = "api"
[[rules]]
limits = "50/minute"
key = "global"
name = "all"
"""


@pytest.fixture
def policy(redis: RedisServer, tmp_path: Path) -> Path:
    path = tmp_path / "ratelimit.toml"
    path.write_text(POLICY.format(url=redis.url()))
    return path


@pytest.fixture
def live(policy: Path) -> Iterator[Policy]:
    """The site that runs with this policy."""
    site = Policy.from_file(policy)
    yield site
    site.store.close()


def visit(policy: Policy, path: str, *, peer: str = "203.0.113.7", user: str | None = None, key: str = "") -> int:
    headers = {"x-api-key": key} if key else {}
    asked = Request(method="GET", path=path, peer=peer, headers=headers, raw=None, user=lambda: user)
    return policy.check(asked).status or 200


def inspected(
    *arguments: str, capsys: pytest.CaptureFixture[str], command: str = "inspect"
) -> tuple[int, dict[str, Any]]:
    status = main([command, *arguments, "--json"])
    found = json.loads(capsys.readouterr().out)
    return status, {one["rule"]: one for one in found["counters" if command == "inspect" else "reset"]}


def left(found: dict[str, Any], rule: str) -> list[int]:
    return [one["remaining"] for one in found[rule]["limits"]]


def test_inspect_sees_what_the_site_counted(policy: Path, live: Policy, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        visit(live, "/")
    visit(live, "/login", peer="203.0.113.7", user="42")
    status, found = inspected("203.0.113.7", "--policy", str(policy), capsys=capsys)
    assert status == 1  # 3 of 3 are used
    assert left(found, "site") == [0, 97]
    assert 0 < found["site"]["limits"][0]["retry_after"] <= 60
    assert left(found, "all") == [47]
    status, found = inspected("user:42", "ip:203.0.113.7", "--rule", "login", "--policy", str(policy), capsys=capsys)
    assert (status, left(found, "login")) == (0, [1])
    assert found["login"]["key"] == "user:42|ip:203.0.113.7"


def test_inspecting_writes_nothing(policy: Path, live: Policy, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(3):
        inspected("198.51.100.9", "--policy", str(policy), capsys=capsys)
    assert [visit(live, "/", peer="198.51.100.9") for _ in range(4)] == [200, 200, 200, 429]


def test_a_secret_field_is_read_from_standard_input(
    policy: Path, live: Policy, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import io

    visit(live, "/api", key="s3cret")
    monkeypatch.setattr(sys, "stdin", io.StringIO("s3cret\n"))
    _, found = inspected("header:X-API-Key=-", "--policy", str(policy), capsys=capsys)
    assert list(found) == ["api", "all"]
    assert left(found, "api") == [4]
    assert "s3cret" not in json.dumps(found)


def test_reset_gives_the_quota_back_and_says_what_it_did(
    policy: Path, live: Policy, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(4):
        visit(live, "/")
    assert visit(live, "/") == 429
    status, found = inspected("203.0.113.7", "--policy", str(policy), capsys=capsys, command="reset")
    assert status == 0
    assert left(found, "site") == [0, 97]
    assert "all" not in found  # a counter that all clients share is reset only by its name
    assert visit(live, "/") == 200
    assert main(["reset", "global", "--policy", str(policy)]) == 0
    assert capsys.readouterr().out == "all  global\n  50/minute: reset; 46 of 50 were left\n"


@pytest.mark.parametrize("store", ["redis", "memcached"])
def test_a_limiter_is_inspected_by_its_key(
    store: str, redis: RedisServer, memcached: Process, capsys: pytest.CaptureFixture[str]
) -> None:
    url = redis.url() if store == "redis" else f"memcached://127.0.0.1:{memcached.port}"
    limiter = Limiter("3/minute", store=url, name="ops")
    limiter.hit("user:\x1b[1m42", cost=2)
    options = ["user:\x1b[1m42", "--store", url, "--limit", "3/minute", "--name", "ops"]
    assert main(["inspect", *options]) == 0
    out = capsys.readouterr().out
    assert out.startswith("ops  user:\\x1b[1m42\n  3/minute: 1 of 3 left, allowed, resets in ")
    assert main(["reset", *options]) == 0
    assert limiter.peek("user:\x1b[1m42").remaining == 3
    limiter.close()


@pytest.mark.parametrize("store", ["redis", "memcached"])
def test_what_is_not_a_counter_is_named_by_inspect_and_deleted_by_reset(
    store: str, redis: RedisServer, memcached: Process, capsys: pytest.CaptureFixture[str]
) -> None:
    url = redis.url() if store == "redis" else f"memcached://127.0.0.1:{memcached.port}"
    limiter = Limiter("3/minute", store=url, name="ops")
    limiter.hit("spoilt")
    beginning = key_prefix("rlk", FORMAT if store == "redis" else MEMCACHED_FORMAT)
    key = counter_key(beginning, limiter.limits[0].counter, scoped("ops", "spoilt"))
    if store == "redis":
        with redis_py.Redis.from_url(url) as client:
            assert client.delete(key) == 1
            client.hset(key, "field", "value")
    else:
        with contextlib.closing(socket.create_connection(("127.0.0.1", memcached.port))) as sock:
            sock.sendall(f"set {key} 0 0 5\r\nhello\r\n".encode())
            assert sock.recv(99) == b"STORED\r\n"
    options = ["spoilt", "--store", url, "--limit", "3/minute", "--name", "ops"]
    assert main(["inspect", *options]) == 3
    assert "rule 'ops', key 'spoilt': " in capsys.readouterr().err
    status, found = inspected(*options, capsys=capsys, command="reset")
    assert (status, found) == (0, {"ops": {"rule": "ops", "key": "spoilt", "allowed": None, "limits": []}})
    assert main(["inspect", *options]) == 0
    assert limiter.hit("spoilt").remaining == 2
    limiter.close()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nobody"], "'nobody' is not a client"),
        (["user:42", "--rule", "login"], "the rule 'login' counts by user and ip"),
        (["203.0.113.7", "--rule", "logni"], "did you mean 'login'?"),
    ],
)
def test_who_cannot_be_named_is_said(
    policy: Path, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", *arguments, "--policy", str(policy)]) == 2
    assert words in capsys.readouterr().err


def test_a_user_whom_no_rule_counts_alone_has_nothing_to_reset(
    policy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["reset", "user:42", "--policy", str(policy)]) == 2
    assert "no rule counts by 'user:42'" in capsys.readouterr().err


def test_the_site_of_the_examples_is_verified(redis: RedisServer, capsys: pytest.CaptureFixture[str]) -> None:
    port = free_port()
    command = [python_program("gunicorn"), "--workers", "4", "wsgi_app:application", "--log-level", "warning", "--bind"]
    with running([*command, f"127.0.0.1:{port}"], port, cwd=EXAMPLES, env={"STORE_URL": redis.patient_url()}):
        status, report = verify(
            f"http://127.0.0.1:{port}/", "--limit", "10", "--method", "POST", "--wait", "0", capsys=capsys
        )
        assert request(port).status == 429
    assert (status, report["admitted"], report["sent"]) == (0, 10, 15)
