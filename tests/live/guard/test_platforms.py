"""Real servers on faked platforms: refused, started, or not a platform's matter."""

from __future__ import annotations

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
