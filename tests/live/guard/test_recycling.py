"""Servers that replace their worker after a while: with counters in memory that is warned of, and no false alarm."""

from __future__ import annotations

import contextlib

import pytest

from tests.live.guard.test_guard import until
from tests.live.servers import APPS, ASGI, WSGI, host_url
from tests.processes import free_port, python_program, request, running

pytestmark = pytest.mark.live

COMMANDS = {
    "gunicorn": ([python_program("gunicorn"), "--max-requests", "3", "--bind", "127.0.0.1:{port}", WSGI], "max_requests = 3"),
    "uvicorn": ([python_program("uvicorn"), "--limit-max-requests", "3", "--port", "{port}", ASGI], "limit_max_requests = 3"),
    "hypercorn": ([python_program("hypercorn"), "--max-requests", "3", "--bind", "127.0.0.1:{port}", ASGI], "max_requests = 3"),
    "granian": ([python_program("granian"), "--interface", "asgi", "--workers-lifetime", "60", "--port", "{port}", ASGI], "workers_lifetime = 60"),
    "uwsgi": (
        [python_program("pyuwsgi"), "--http-socket", "127.0.0.1:{port}", "--master", "--die-on-term", "--max-requests", "3", "--wsgi-file", "memory_app.py"],
        "max-requests = 3",
    ),
}  # fmt: skip
"""A command for each server, and its setting as the warning writes it."""


@pytest.mark.parametrize("server", COMMANDS)
def test_a_recycled_worker_is_warned_of_and_starts(server: str) -> None:
    command, setting = COMMANDS[server]
    port = free_port()
    with running([word.replace("{port}", str(port)) for word in command], port, cwd=APPS) as process:
        assert request(port, method="GET").status == 200
        assert process.text().count("[RLK257]") == 1, process.text()
        assert f"the server ends its worker after a while ({setting})" in process.text()
        assert "RLK202" not in process.text()


@pytest.mark.parametrize("options", [{"ALLOW_PER_PROCESS": "1"}, {"STORE_URL": host_url()}], ids=["accepted", "host"])
def test_where_that_is_no_matter_nothing_is_said(options: dict[str, str]) -> None:
    command, _ = COMMANDS["gunicorn"]
    port = free_port()
    with running([word.replace("{port}", str(port)) for word in command], port, cwd=APPS, env=options) as process:
        assert request(port, method="GET").status == 200
        assert "RLK2" not in process.text()


def test_a_recycled_worker_is_no_sibling_of_its_successor() -> None:
    command, _ = COMMANDS["gunicorn"]
    port = free_port()
    with running([word.replace("{port}", str(port)) for word in command], port, cwd=APPS) as process:
        statuses: list[int] = []

        def asked_until_recycled() -> bool:
            with contextlib.suppress(OSError):
                statuses.append(request(port, method="GET").status)
            return process.text().count("Booting worker") >= 5

        until(asked_until_recycled, process)
        assert set(statuses) == {200}
        assert process.text().count("RLK2") == process.text().count("[RLK257]") == 1
