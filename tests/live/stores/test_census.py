"""The census on real servers: three hosts with four workers each, killed processes, restarts, two versions, both stores."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from pathlib import Path

import pytest
import redis as client_library

from ratelimit_kit import MemcachedStore, RedisStore
from ratelimit_kit.cli import main
from ratelimit_kit.stores.census import MAX_PROCESSES
from ratelimit_kit.stores.memcached.commands import Write
from ratelimit_kit.stores.memcached.conversations import Job, Writes
from tests.live.servers import APPS, ASGI, WSGI
from tests.processes import Process, RedisServer, free_port, python_program, redis_server, request, running

pytestmark = pytest.mark.live

WORKERS = 4


@pytest.fixture(params=["redis", "memcached"])
def url(request: pytest.FixtureRequest, redis: RedisServer, memcached: Process) -> str:
    if request.param == "redis":
        return redis.url()
    with socket.create_connection(("127.0.0.1", memcached.port)) as raw:
        raw.sendall(b"flush_all\r\n")
        assert raw.recv(10) == b"OK\r\n"
    return f"memcached://127.0.0.1:{memcached.port}"


def store_of(url: str) -> RedisStore | MemcachedStore:
    return RedisStore(url) if url.startswith("redis") else MemcachedStore(url)


def test_entries_last_as_long_as_they_are_written_for(url: str) -> None:
    store = store_of(url)
    assert store.census("web", "", 0) == []
    assert store.census("web", "a:x:1", 60) == ["a:x:1"]
    assert set(store.census("web", "b:x:1", 1) or []) == {"a:x:1", "b:x:1"}
    assert store.census("other", "", 0) == []
    end = time.monotonic() + 5
    while store.census("web", "", 0) != ["a:x:1"]:
        assert time.monotonic() < end
        time.sleep(0.05)
    assert store.census("web", "a:x:1", 0) == []
    store.close()


def test_what_would_last_too_long_is_dropped_when_somebody_writes(redis: RedisServer) -> None:
    """The server's clock was set back, or another one took over whose clock is behind."""
    url = redis.url()
    store = RedisStore(url)
    store.census("web", "a:x:1", 15)
    with client_library.Redis.from_url(url) as raw:
        (key,) = raw.keys("*:census:*")
        entry, _, end = (raw.get(key) or b"").rpartition(b" ")
        raw.set(key, entry + b" %d" % (int(end) + 3_600_000), keepttl=True)
    assert store.census("web", "", 0) == ["a:x:1"]
    assert store.census("web", "b:x:1", 15) == ["b:x:1"]
    store.close()


ENDINGS = {
    "gunicorn": [python_program("gunicorn"), "-w", "2", WSGI, "--bind", "127.0.0.1:{port}"],
    "gunicorn, uvicorn's worker": [
        python_program("gunicorn"), "-w", "2", "-k", "uvicorn.workers.UvicornWorker", ASGI, "--bind", "127.0.0.1:{port}"
    ],
    "uvicorn": [python_program("uvicorn"), ASGI, "--port", "{port}"],
    "uvicorn, two workers": [python_program("uvicorn"), "--workers", "2", ASGI, "--port", "{port}"],
    "hypercorn": [python_program("hypercorn"), ASGI, "--bind", "127.0.0.1:{port}"],
    "granian": [python_program("granian"), "--interface", "asgi", ASGI, "--port", "{port}"],
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("server", ENDINGS)
def test_a_server_that_is_stopped_leaves_the_census(server: str, redis: RedisServer) -> None:
    url, port = redis.url(), free_port()
    command = [word.replace("{port}", str(port)) for word in ENDINGS[server]]
    store = RedisStore(url)
    with running(command, port, cwd=APPS, env={"STORE_URL": url}) as process:
        ask_all(port)
        until(lambda: bool(store.census("web", "", 0)))
        process.popen.send_signal(signal.SIGTERM)
        process.wait_until_ended(20)
        assert store.census("web", "", 0) == []
    store.close()


def test_the_key_is_bounded(url: str) -> None:
    store = store_of(url)
    for number in range(MAX_PROCESSES + 20):
        entries = store.census("web", f"{number:016x}:host:version", 60) or []
    assert len(entries) == MAX_PROCESSES
    assert len(store.census("web", f"{0:016x}:host:version", 60) or []) == MAX_PROCESSES
    store.close()


def test_what_others_have_written_there_is_no_entry(memcached: Process) -> None:
    store = MemcachedStore(f"memcached://127.0.0.1:{memcached.port}", prefix="odd")
    key = store._conversations._states.key_of("census", "web")

    def write(_: object) -> Iterator[Writes]:
        yield Writes([Write(key, b"\xff\xfe nonsense\nx 99999999999999999999999\n", None, 60)])

    store._client.run(Job([key], write))  # type: ignore[arg-type]
    assert store.census("web", "a:x:1", 60) == ["a:x:1"]
    store.close()


def on_host(name: str, command: list[str]) -> list[str]:
    """The command in a UTS namespace of its own, where the host has another name; its network is shared for the tests."""
    unshare = shutil.which("unshare")
    assert unshare is not None
    rights = [] if os.geteuid() == 0 else ["--map-root-user"]
    return [unshare, *rights, "--uts", "sh", "-c", f'hostname {name} && exec "$@"', "sh", *command]


def served(port: int, *options: str) -> list[str]:
    return [python_program("gunicorn"), "-w", str(WORKERS), *options, WSGI, "--bind", f"127.0.0.1:{port}"]


def ask_all(port: int) -> None:
    """Requests until every worker has had some: each takes a connection of its own, several at once."""
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda _: request(port, method="GET").status, range(160)))


def population(port: int) -> tuple[int, int, int]:
    with contextlib.suppress(OSError, KeyError, ValueError):
        seen = json.loads(request(port, "/healthz", method="GET").body)["checks"]["workers"][0]
        return seen["processes"], seen["hosts"], seen["versions"]
    return 0, 0, 0


def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.2)


@pytest.mark.slow
def test_three_hosts_with_four_workers_are_counted_through_kills_and_restarts(url: str) -> None:
    with contextlib.ExitStack() as hosts:
        ports, processes = [free_port() for _ in range(3)], []
        for number, port in enumerate(ports):
            command = on_host(f"host-{number}", served(port))
            processes.append(hosts.enter_context(running(command, port, cwd=APPS, env={"STORE_URL": url})))

        def all_asked() -> tuple[int, int, int]:
            for port in ports:
                ask_all(port)
            return population(ports[0])

        until(lambda: all_asked() == (3 * WORKERS, 3, 1))
        os.kill(
            processes[1].popen.pid, signal.SIGKILL
        )  # as by the OOM killer: the master first, which would replace them
        for pid in workers_of(processes[1]):
            os.kill(pid, signal.SIGKILL)
        until(lambda: population(ports[0]) == (2 * WORKERS, 2, 1))
        processes[2].popen.send_signal(signal.SIGHUP)  # a rolling restart: every process is another one
        until(lambda: all_of(ports[0], ports[2]) == (2 * WORKERS, 2, 1))


class SocketConnection(HTTPConnection):
    """HTTP over a UNIX socket, which leads into another network namespace."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=5)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def asked(path: Path, place: str) -> bytes:
    connection = SocketConnection(path)
    connection.request("GET", place)
    answer = connection.getresponse().read()
    connection.close()
    return answer


@pytest.mark.slow
def test_hosts_with_networks_of_their_own_are_counted(tmp_path: Path) -> None:
    """Three network namespaces with four workers each, on one Redis; each is reached by a socket in the file system."""
    unshare = shutil.which("unshare")
    assert unshare is not None
    rights = [] if os.geteuid() == 0 else ["--map-root-user"]
    with contextlib.ExitStack() as hosts:
        hosts.enter_context(redis_server("--unixsocket", str(tmp_path / "redis")))
        env = {"STORE_URL": f"unix://{tmp_path}/redis?timeout=5"}
        sockets, processes = [tmp_path / f"host-{number}" for number in range(3)], []
        for path in sockets:
            command = [
                unshare,
                *rights,
                "--net",
                python_program("gunicorn"),
                "-w",
                str(WORKERS),
                WSGI,
                "--bind",
                f"unix:{path}",
            ]
            processes.append(hosts.enter_context(running(command, 0, cwd=APPS, env=env, wait=False)))
        until(lambda: all(path.exists() for path in sockets))

        def seen(*paths: Path) -> tuple[int, int, int]:
            with ThreadPoolExecutor(16) as pool:
                for path in paths:
                    list(pool.map(lambda _, path=path: asked(path, "/"), range(100)))
            found = json.loads(asked(paths[0], "/healthz"))["checks"]["workers"][0]
            return found.get("processes", 0), found.get("hosts", 0), found.get("versions", 0)

        until(lambda: seen(*sockets) == (3 * WORKERS, 3, 1))
        for pid in (processes[1].popen.pid, *workers_of(processes[1])):
            os.kill(pid, signal.SIGKILL)
        until(lambda: seen(sockets[0], sockets[2]) == (2 * WORKERS, 2, 1))
        processes[2].popen.send_signal(signal.SIGHUP)
        until(lambda: seen(sockets[0], sockets[2]) == (2 * WORKERS, 2, 1))


def all_of(*ports: int) -> tuple[int, int, int]:
    for port in ports:
        ask_all(port)
    return population(ports[0])


def workers_of(process: Process) -> list[int]:
    return [int(line.rpartition(" ")[2]) for line in process.text().splitlines() if "Booting worker with pid" in line]


@pytest.mark.slow
def test_a_process_writes_at_most_once_in_ten_seconds(redis: RedisServer) -> None:
    url, port = redis.url(), free_port()
    with client_library.Redis.from_url(url) as raw, running(served(port), port, cwd=APPS, env={"STORE_URL": url}):
        until(lambda: all_of(port)[0] == WORKERS)
        ends: list[dict[bytes, bytes]] = []
        begun = time.monotonic()
        while time.monotonic() < begun + 9:
            request(port, method="GET")
            (key,) = raw.keys("*:census:*")
            ends.append(dict(line.rsplit(b" ", 1) for line in (raw.get(key) or b"").splitlines()))
            time.sleep(0.1)
        assert raw.dbsize() <= 3  # one key of the census, beside those of counters
        for entry in ends[0]:
            assert len({found[entry] for found in ends if entry in found}) <= 2  # written at most once more in 9 s


@pytest.mark.slow
def test_two_deployments_with_other_limits_are_told_of(url: str) -> None:
    ports = free_port(), free_port()
    with (
        running(served(ports[0]), ports[0], cwd=APPS, env={"STORE_URL": url}) as one,
        running(served(ports[1]), ports[1], cwd=APPS, env={"STORE_URL": url, "LIMIT": "11/minute"}) as other,
    ):
        for port in ports:
            ask_all(port)
        until(lambda: "[RLK260]" in other.text())
        assert all_of(*ports)[2] == 2
        assert other.text().count("[RLK260]") <= WORKERS
        assert "RLK201" not in one.text()


@pytest.mark.slow
def test_doctor_tells_who_serves(url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    port = free_port()
    file = tmp_path / "ratelimit.toml"
    file.write_text(f'store = "{url}"\n[[rules]]\nlimits = "10/minute"\nkey = "ip"\n')
    with running(served(port), port, cwd=APPS, env={"STORE_URL": url}):
        until(lambda: all_of(port)[0] == WORKERS)
        assert main(["doctor", str(file)]) == 0
        assert f"serving by the policy 'web': {WORKERS} processes, on 1 host" in capsys.readouterr().out


@pytest.mark.parametrize("threads", [[], ["--enable-threads"]], ids=["without threads", "with threads"])
@pytest.mark.slow
def test_uwsgi_is_counted_with_and_without_threads(threads: list[str], redis: RedisServer) -> None:
    url, port = redis.url(), free_port()
    command = [
        python_program("pyuwsgi"),
        "--http-socket",
        f"127.0.0.1:{port}",
        "--master",
        "--processes",
        "2",
        *threads,
    ]
    command += ["--wsgi-file", "memory_app.py", "--die-on-term"]
    store = RedisStore(url)
    with running(command, port, cwd=APPS, env={"STORE_URL": url}):
        until(lambda: all_of(port) == (2, 1, 1))
        seen: set[str] = set()
        for _ in range(12):  # longer than an entry lasts
            ask_all(port)
            time.sleep(1.5)
            seen |= set(store.census("web", "", 0))
        assert len(seen) == 2
        assert population(port)[0] == 2
    store.close()
