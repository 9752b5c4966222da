"""Real servers on faked platforms: refused, started, or not a platform's matter."""

from __future__ import annotations

import contextlib
import sys

import pytest

from tests.guard.test_platforms import REFUSED, STARTED
from tests.live.servers import APPS, ASGI, WSGI
from tests.processes import free_port, python_program, request, running

pytestmark = pytest.mark.live

SERVERS = {
    "gunicorn": ([python_program("gunicorn"), "--bind", "127.0.0.1:{port}", WSGI], "--reload"),
    "uvicorn": ([python_program("uvicorn"), "--port", "{port}", ASGI], "--reload"),
    "granian": ([python_program("granian"), "--interface", "asgi", "--port", "{port}", ASGI], "--reload"),
}

NOWHERE = dict.fromkeys(["CI", "PYTEST_CURRENT_TEST", "CODESPACES", "REMOTE_CONTAINERS"], "")
"""What a test must not pass on to a server in production."""


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("case", ["kubernetes", "cloud-run"])
def test_a_store_in_memory_does_not_start_there(case: str, server: str) -> None:
    test_a_store_in_memory_does_not_start(case, server)


@pytest.mark.servers
@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("case", ["lambda", "stateful-set", "ecs", "fly", "heroku", "nomad"])
def test_a_store_in_memory_does_not_start(case: str, server: str) -> None:
    port = free_port()
    command = [word.replace("{port}", str(port)) for word in SERVERS[server][0]]
    with running(command, port, cwd=APPS, env={**NOWHERE, **REFUSED[case]}, wait=False) as process:
        process.wait_until_ended(10)
        assert process.text().count("[RLK211]") == 1, process.text()
        assert "Traceback" not in process.text()


FINE = {
    "declared": {**REFUSED["kubernetes"], "RATELIMIT_KIT_WORKERS": "1"},
    "ci": {**REFUSED["kubernetes"], "CI": "true"},
    "devcontainer": {**REFUSED["kubernetes"], "REMOTE_CONTAINERS": "true"},
    "first-dyno": STARTED["heroku-first-dyno"],
}


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("case", FINE)
def test_what_is_fine_starts(case: str, server: str) -> None:
    port = free_port()
    command = [word.replace("{port}", str(port)) for word in SERVERS[server][0]]
    with running(command, port, cwd=APPS, env={**NOWHERE, **FINE[case]}) as process:
        assert request(port, method="GET").status == 200
        assert "RLK2" not in process.text()


@pytest.mark.parametrize("server", SERVERS)
def test_a_reloader_is_no_production(server: str) -> None:
    port = free_port()
    words, reload = SERVERS[server]
    command = [*(word.replace("{port}", str(port)) for word in words), reload]
    with running(command, port, cwd=APPS, env={**NOWHERE, **REFUSED["kubernetes"]}) as process:
        assert request(port, method="GET").status == 200
        assert "RLK2" not in process.text()


FLASK = {
    "gunicorn": [python_program("gunicorn"), "memory_flask", "--bind", "127.0.0.1:{port}"],
    "granian": [python_program("granian"), "--interface", "wsgi", "--port", "{port}", "memory_flask:application"],
    "uvicorn": [python_program("uvicorn"), "--interface", "wsgi", "--port", "{port}", "memory_flask:application"],
}


@pytest.mark.parametrize("server", FLASK)
def test_flask_is_checked_at_the_start_by_every_server(server: str) -> None:
    """Granian and uvicorn use click, as `flask` does."""
    port = free_port()
    command = [word.replace("{port}", str(port)) for word in FLASK[server]]
    with running(command, port, cwd=APPS, env={**NOWHERE, **REFUSED["kubernetes"]}, wait=False) as process:
        process.wait_until_ended(10)
        assert process.text().count("[RLK211]") == 1, process.text()


@pytest.mark.parametrize("command", [["granian", "--interface", "wsgi", "--workers", "3"]])
def test_and_its_workers_are_counted(command: list[str]) -> None:
    port = free_port()
    words = [python_program(command[0]), *command[1:], "--port", str(port), "memory_flask:application"]
    with running(words, port, cwd=APPS, env=NOWHERE, wait=False) as process:
        process.wait_until_ended(10)
        assert "[RLK201]" in process.text()


@pytest.mark.parametrize("server", ["uvicorn", "waitress"])
def test_a_program_that_starts_its_server_itself_serves_nothing_there(server: str) -> None:
    port = free_port()
    command = [sys.executable, "memory_flask.py", server, str(port)]
    with running(command, port, cwd=APPS, env={**NOWHERE, **REFUSED["kubernetes"]}) as process:
        with contextlib.suppress(OSError):
            assert request(port, method="GET").status >= 500
        process.wait_until_ended(10)
        assert process.text().count("[RLK211]") == 1, process.text()


def test_a_command_of_flask_starts() -> None:
    command = [python_program("flask"), "--app", "memory_flask:application", "routes"]
    with running(command, 0, cwd=APPS, env={**NOWHERE, **REFUSED["cloud-run"]}, wait=False) as process:
        assert process.wait_until_ended(10) == 0
        assert "RLK" not in process.text()
