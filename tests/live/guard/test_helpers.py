"""Helper processes of scripts, sites and task queues: each says once that it counts separately; no server is harmed."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest

from tests.live.guard.test_guard import until
from tests.live.servers import APPS, host_url
from tests.processes import free_port, python_program, request, running

pytestmark = pytest.mark.live

HOW = {"fork": 1, "executor": 2, "pool-fork": 2, "pool-spawn": 2, "pool-forkserver": 2}
"""The number of helpers that each way starts."""


def result(how: str, **env: str) -> tuple[str, str]:
    done = subprocess.run(
        [sys.executable, "helpers.py", how],
        cwd=APPS,
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "", **env},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip(), done.stderr


@pytest.mark.parametrize("how", HOW)
def test_each_helper_says_once_that_it_counts_separately_and_goes_on(how: str) -> None:
    said, log = result(how)
    assert said == f"admitted {5 * HOW[how]} and here 5", log
    assert log.count("[RLK258]") == HOW[how]
    assert "this process was started by the application itself" in log
    assert log.count("RLK") == HOW[how]


@pytest.mark.parametrize("how", ["fork", "pool-spawn"])
def test_deny_refuses_in_the_helpers_and_not_in_their_parent(how: str) -> None:
    said, log = result(how, ON_UNSAFE="deny")
    assert said == "admitted 0 and here 5", log
    assert log.count("[RLK258]") == HOW[how]
    assert log.count("By on_unsafe='deny' such a process refuses every hit") == HOW[how]


@pytest.mark.parametrize("env", [{"STORE_URL": host_url()}, {"RATELIMIT_KIT_WORKERS": "1"}], ids=["host", "declared"])
def test_nothing_is_said_where_that_is_meant(env: dict[str, str]) -> None:
    assert "RLK" not in result("pool-fork", **env)[1]


def test_a_daemon_is_no_helper() -> None:
    said, log = result("daemon")
    assert said == "admitted 5 and here 5"
    assert "RLK" not in log


SITES = {
    "gunicorn": [python_program("gunicorn"), "pool_in_view:application", "--bind", "127.0.0.1:{port}"],
    "gunicorn-preload": [python_program("gunicorn"), "--preload", "pool_in_view:application", "--bind", "127.0.0.1:{port}"],
    "gunicorn-threads": [python_program("gunicorn"), "--threads", "2", "pool_in_view:application", "--bind", "127.0.0.1:{port}"],
    "uwsgi": [python_program("pyuwsgi"), "--http-socket", "127.0.0.1:{port}", "--enable-threads", "--wsgi-file", "pool_in_view.py"],
    "waitress": [python_program("waitress-serve"), "--listen", "127.0.0.1:{port}", "pool_in_view:application"],
}  # fmt: skip


@pytest.mark.parametrize("server", SITES)
def test_a_pool_in_a_view_takes_nothing_from_its_server(server: str) -> None:
    port = free_port()
    command = [word.replace("{port}", str(port)) for word in SITES[server]]
    with running(command, port, cwd=APPS) as process:
        answers = [json.loads(request(port, method="GET").body) for _ in range(5)]
        time.sleep(1.5)  # the thread has looked once more
        answers += [json.loads(request(port, method="GET").body) for _ in range(5)]
        assert all(answer["allowed"] for answer in answers), process.text()
        assert len({answer["pid"] for answer in answers}) == 1
        assert 1 <= process.text().count("[RLK258]") <= 2
        assert "RLK202" not in process.text()


DIRTY = [python_program("gunicorn"), "dirty:application", "--dirty-app", "dirty:Model", "--dirty-workers", "1"]


def test_a_dirty_worker_of_gunicorn_is_told_of_and_refuses() -> None:
    port = free_port()
    with running([*DIRTY, "--bind", f"127.0.0.1:{port}"], port, cwd=APPS) as process:
        assert json.loads(request(port, method="GET").body) == [True, None]
        until(lambda: request(port, "/model", method="GET").status == 200, process)
        assert json.loads(request(port, "/model", method="GET").body) == [True, False]
        assert process.text().count("[RLK202]") == 1
        assert "gunicorn runs dirty workers beside 1 for HTTP" in process.text()
        assert json.loads(request(port, method="GET").body) == [True, None]


def test_a_dirty_worker_that_does_not_decide_is_nobodys_matter() -> None:
    port = free_port()
    with running([*DIRTY, "--bind", f"127.0.0.1:{port}"], port, cwd=APPS) as process:
        until(lambda: "Dirty worker" in process.text() or "dirty worker" in process.text(), process)
        assert json.loads(request(port, method="GET").body) == [True, None]
        assert "RLK" not in process.text()
