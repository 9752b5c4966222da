"""The guard during the life of real servers: reloads, recycled and added workers, siblings, and non-servers."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import redis as client_library

from tests.live.servers import APPS, ASGI, WSGI
from tests.processes import EXAMPLES, Process, RedisServer, free_port, python_program, redis_server, request, running

pytestmark = pytest.mark.live

GUNICORN = python_program("gunicorn")
UVICORN = python_program("uvicorn")


def serving(port: int, *options: str, app: str = WSGI) -> list[str]:
    return [GUNICORN, *options, app, "--bind", f"127.0.0.1:{port}"]


def until(condition: Callable[[], bool], process: Process, seconds: float = 15) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, process.text()
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("command", "folder", "exit_code"),
    [
        ([GUNICORN, "--workers", "4", "wsgi_app:application", "--bind"], EXAMPLES, 3),
        ([GUNICORN, "--workers", "4", "website.wsgi:application", "--bind"], EXAMPLES / "django_site", 3),
        ([UVICORN, "asgi_app:application", "--host", "127.0.0.1", "--port"], EXAMPLES, 3),
        ([UVICORN, "--workers", "2", "asgi_app:application", "--host", "127.0.0.1", "--port"], EXAMPLES, 0),
    ],
    ids=["gunicorn", "gunicorn-django", "uvicorn", "uvicorn-workers"],
)
def test_an_unreachable_redis_ends_the_server(command: list[str], folder: Path, exit_code: int) -> None:
    port = free_port()
    address = f"127.0.0.1:{port}" if command[-1] == "--bind" else str(port)
    url = f"redis://:secret@127.0.0.1:{free_port()}/0"
    with running([*command, address], port, cwd=folder, env={"STORE_URL": url}, wait=False) as process:
        assert process.wait_until_ended(8) == exit_code
        text = process.text()
    assert text.count("[RLK204]") == 1
    assert "start the store first" in text
    assert "secret" not in text
    assert "Traceback" not in text


def test_a_per_process_django_cache_ends_the_server(tmp_path: Path) -> None:
    port = free_port()
    command = [GUNICORN, "--workers", "4", "website.wsgi:application", "--bind", f"127.0.0.1:{port}"]
    env = {"STORE_URL": "django-cache://default"}
    with running(command, port, cwd=EXAMPLES / "django_site", env=env, wait=False) as process:
        assert process.wait_until_ended(5) == 3
        text = process.text()
    assert text.count("[RLK201]") == 1
    assert "the cache 'default' (LocMemCache) counts per process, and gunicorn is starting 4 workers" in text


def test_a_recycled_worker_starts_although_the_store_is_down() -> None:
    port = free_port()
    command = [GUNICORN, "--workers", "2", "wsgi_app:application", "--max-requests", "3", "--bind", f"127.0.0.1:{port}"]
    with redis_server() as redis, running(command, port, cwd=EXAMPLES, env={"STORE_URL": redis.url()}) as process:
        assert request(port).status == 200
        with client_library.Redis(port=redis.port) as raw:  # both workers are up: each has two connections
            until(lambda: len(raw.client_list()) >= 5, process)
        redis.process.stop()
        statuses = set()
        end = time.monotonic() + 40
        while process.text().count("Booting worker") < 6 and time.monotonic() < end:
            with contextlib.suppress(ConnectionError):
                statuses.add(request(port).status)
        assert statuses == {200}
        assert process.text().count("Booting worker") >= 6
        assert process.popen.poll() is None
        assert "each process applies the full limits on its own" in process.text()


@pytest.mark.parametrize("options", [[], ["--preload"]], ids=["plain", "preload"])
def test_a_worker_added_to_a_running_server_does_not_serve_and_the_others_go_on(options: list[str]) -> None:
    port = free_port()
    with running(serving(port, *options), port, cwd=APPS) as process:
        assert request(port, method="GET").status == 200
        process.popen.send_signal(signal.SIGTTIN)
        until(lambda: process.text().count("[RLK202]") == 2, process)
        assert "was told to have 2 workers" in process.text()
        assert "Traceback" not in process.text()
        assert process.popen.poll() is None
        statuses = [request(port, method="GET").status for _ in range(12)]
        assert statuses == [200] * 9 + [429] * 3
        process.popen.send_signal(signal.SIGTTOU)


@pytest.mark.parametrize("on_unsafe", ["deny", "warn"])
def test_a_worker_added_to_a_preloaded_server_follows_on_unsafe(on_unsafe: str) -> None:
    port = free_port()
    with running(serving(port, "--preload"), port, cwd=APPS, env={"ON_UNSAFE": on_unsafe}) as process:
        process.popen.send_signal(signal.SIGTTIN)
        until(lambda: process.text().count("Booting worker") == 2, process)
        health = set()

        def both_were_asked() -> bool:
            with contextlib.suppress(OSError):
                answer = request(port, "/healthz", method="GET")
                health.add((answer.status, json.loads(answer.body)["status"]))
            return len(health) == 2

        until(both_were_asked, process, 30)
        assert health == {(200, "pass"), (503, "fail") if on_unsafe == "deny" else (200, "warn")}
        assert process.text().count("[RLK202]") == 1


@pytest.mark.parametrize("on_unsafe", ["deny", "warn"])
def test_an_added_worker_follows_on_unsafe_and_its_health_says_so(on_unsafe: str) -> None:
    port = free_port()
    with running(serving(port), port, cwd=APPS, env={"ON_UNSAFE": on_unsafe}) as process:
        assert json.loads(request(port, "/healthz", method="GET").body)["status"] == "pass"
        process.popen.send_signal(signal.SIGTTIN)
        until(lambda: "[RLK202]" in process.text(), process)
        health, statuses = set(), []

        def both_were_asked() -> bool:
            with contextlib.suppress(OSError):
                answer = request(port, "/healthz", method="GET")
                health.add((answer.status, json.loads(answer.body)["status"]))
                statuses.append(request(port, method="GET").status)
            return len(health) == 2 and len(statuses) >= 40

        until(both_were_asked, process, 30)
        expected = {(503, "fail"), (200, "pass")} if on_unsafe == "deny" else {(200, "warn"), (200, "pass")}
        assert health == expected
        assert (503 in statuses) == (on_unsafe == "deny")
        assert statuses.count(200) <= (10 if on_unsafe == "deny" else 20)
        assert process.text().count("[RLK202]") == 1
        assert process.popen.poll() is None


@pytest.mark.parametrize("options", [[], ["--preload"], ["--threads", "2"]], ids=["plain", "preload", "threads"])
def test_a_reload_of_one_worker_is_no_false_alarm(options: list[str]) -> None:
    port = free_port()
    with running(serving(port, *options), port, cwd=APPS) as process:
        assert request(port, method="GET").status == 200
        process.popen.send_signal(signal.SIGHUP)
        until(lambda: process.text().count("Booting worker") == 2, process)
        assert request(port, method="GET").status == 200
        assert "RLK2" not in process.text()


RELOADERS = {
    "gunicorn": [GUNICORN, "--reload", WSGI, "--bind", "127.0.0.1:{port}"],
    "uvicorn": [UVICORN, "--reload", ASGI, "--port", "{port}"],
    "hypercorn": [python_program("hypercorn"), "--reload", "--bind", "127.0.0.1:{port}", ASGI],
    "granian": [python_program("granian"), "--interface", "asgi", "--reload", "--port", "{port}", ASGI],
}


@pytest.mark.slow
@pytest.mark.parametrize("command", RELOADERS.values(), ids=RELOADERS.keys())
def test_a_reloader_that_reloads_is_no_false_alarm(command: list[str], tmp_path: Path) -> None:
    port = free_port()
    for name in ("memory_app.py", "given_store.py"):
        shutil.copy(APPS / name, tmp_path)
    with running([word.replace("{port}", str(port)) for word in command], port, cwd=tmp_path, wait=False) as process:
        pids: list[str] = []
        until(lambda: bool(pids) or _ask(port, pids), process)
        touched = time.monotonic()

        def another_process_serves() -> bool:
            nonlocal touched
            if time.monotonic() > touched:  # repeatedly, because some start watching only a second after their start
                (tmp_path / "memory_app.py").touch()
                touched = time.monotonic() + 3
            return len(set(pids)) > 1 or _ask(port, pids)

        until(another_process_serves, process, 40)
        end = time.monotonic() + 1
        until(lambda: _ask(port, pids) or time.monotonic() > end, process)
        assert "RLK2" not in process.text()


@pytest.fixture
def on_trio() -> list[str]:
    """The command of a server that runs memory_app under trio, but for its port."""
    pytest.importorskip("trio")
    return [python_program("hypercorn"), "-k", "trio", ASGI, "--bind"]


def test_a_site_that_counts_in_memory_is_limited_under_trio(on_trio: list[str]) -> None:
    port = free_port()
    with running([*on_trio, f"127.0.0.1:{port}"], port, cwd=APPS) as process:
        assert [request(port, method="GET").status for _ in range(12)] == [200] * 10 + [429] * 2
        assert "RLK" not in process.text()


def test_redis_and_memcached_count_under_trio(on_trio: list[str], redis: RedisServer, memcached: Process) -> None:
    for url in (redis.url(), f"memcached://127.0.0.1:{memcached.port}"):
        port = free_port()
        with running([*on_trio, f"127.0.0.1:{port}"], port, cwd=APPS, env={"STORE_URL": url}) as process:
            assert [request(port, method="GET").status for _ in range(12)] == [200] * 10 + [429] * 2
            assert "RLK" not in process.text()


def test_granian_respawning_its_worker_is_no_false_alarm() -> None:
    port = free_port()
    command = [python_program("granian"), "--interface", "asgi", "--respawn-failed-workers", "--port", str(port), ASGI]
    with running(command, port, cwd=APPS) as process:
        pid = []
        until(lambda: bool(pid) or _ask(port, pid), process)
        subprocess.run(["/bin/kill", "-9", pid[0]], check=True)
        until(lambda: len(set(pid)) == 2 or _ask(port, pid), process)
        assert "RLK2" not in process.text()


def _ask(port: int, pids: list[str]) -> bool:
    with contextlib.suppress(OSError, KeyError):
        pids.append(request(port, method="GET").headers["x-process"])
    return False


SCRIPTS = {
    "shell": "from memory_app import application, _policy; assert _policy._store.admits(); print('fine')",
    "interactive": "import code; code.interact(local={}, banner='fine', readfunc=lambda _: exec('raise EOFError'))",
    "fork": "import os; from memory_app import _policy; _policy._store.admits()\n"
    "if not (child := os.fork()): os._exit(0)\n"
    "assert os.waitpid(child, 0)[1] == 0; assert _policy._store.admits(); print('fine')",
}


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS.keys())
def test_what_serves_nothing_is_no_server(script: str) -> None:
    done = subprocess.run([sys.executable, "-c", script], cwd=APPS, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "fine" in done.stdout + done.stderr
    assert "RLK2" not in done.stdout + done.stderr


@pytest.mark.parametrize("command", ["check", "diffsettings", "test"])
def test_management_commands_run_on_a_memory_store(command: str) -> None:
    done = subprocess.run(
        [sys.executable, "manage.py", command],
        cwd=EXAMPLES / "django_site",
        env={"STORE_URL": "memory://", "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "RLK2" not in done.stdout + done.stderr
    assert done.returncode == 0, done.stderr


def test_parallel_test_workers_are_no_servers(tmp_path: Path) -> None:
    (tmp_path / "test_site.py").write_text(
        "import sys, pytest\n"
        f"sys.path.insert(0, {str(APPS)!r})\n"
        "from memory_app import _policy\n"
        "@pytest.mark.parametrize('n', range(8))\n"
        "def test_it(n):\n"
        "    assert _policy._store.admits()\n"
    )
    command = [sys.executable, "-m", "pytest", "-n", "2", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "8 passed" in done.stdout
    assert "RLK2" not in done.stdout + done.stderr


def test_celery_workers_are_no_servers_and_say_that_they_count_separately(redis: RedisServer) -> None:
    env = {"BROKER_URL": redis.url()}
    command = [sys.executable, "-m", "celery", "-A", "tasks", "worker", "--concurrency", "2", "--loglevel", "INFO"]
    ask = (
        "import tasks; results = [tasks.limited.delay() for _ in range(4)]; "
        "print([one.get(timeout=20) for one in results].count(True) >= 3)"
    )
    with running(command, 0, cwd=APPS, env=env, wait=False) as process:
        until(lambda: "ready." in process.text(), process, 30)
        done = subprocess.run(
            [sys.executable, "-c", ask], cwd=APPS, env=env, capture_output=True, text=True, check=False
        )
        assert done.stdout.strip() == "True", done.stderr
        assert 1 <= process.text().count("[RLK258]") <= 2, process.text()  # once in each process that decides
        assert process.text().count("RLK2") == process.text().count("[RLK258]")


def test_who_asks_for_the_result_of_a_refused_task_catches_the_librarys_own_error(redis: RedisServer) -> None:
    env = {"BROKER_URL": redis.url()}
    command = [sys.executable, "-m", "celery", "-A", "tasks", "worker", "--concurrency", "1", "--loglevel", "INFO"]
    ask = (
        "import tasks; from ratelimit_kit import LimitExceeded\n"
        "for task in [tasks.refused.delay() for _ in range(3)]:\n"
        "    try: print(task.get(timeout=20))\n"
        "    except LimitExceeded as error: print(error)\n"
    )
    with running(command, 0, cwd=APPS, env=env, wait=False) as process:
        until(lambda: "ready." in process.text(), process, 30)
        done = subprocess.run(
            [sys.executable, "-c", ask],
            cwd=APPS,
            env={**os.environ, **env},
            capture_output=True,
            text=True,
            check=False,
        )
    said = done.stdout.splitlines()
    assert said[:2] == ["done", "done"], done.stderr
    assert re.fullmatch(r"tasks.refused was refused by the limit 2/minute: try again in [\d.]+ s \[RLK429\]", said[2])
