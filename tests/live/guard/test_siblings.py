"""Processes that no server counts: one port shared in three ways, and several ports behind nginx.

The first process keeps its limit; the second answers 503 with RLK202, or does not start. In all, no client gets more
than its quota.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.live.guard.test_guard import until
from tests.live.servers import APPS, ASGI, WSGI, host_url
from tests.processes import Process, free_port, need, python_program, request, running

pytestmark = pytest.mark.live

GUNICORN, UVICORN, UWSGI = (python_program(name) for name in ("gunicorn", "uvicorn", "pyuwsgi"))

LIMIT = 10

SAME_PORT = {
    "uwsgi-reuse-port": ("port", [UWSGI, "--reuse-port", "--http-socket", "127.0.0.1:{port}", "--wsgi-file", "memory_app.py", "--need-app"]),
    "gunicorn-reuse-port": ("port", [GUNICORN, "--reuse-port", "--bind", "127.0.0.1:{port}", WSGI]),
    "gunicorn-systemd-sockets": ("socket", [GUNICORN, WSGI]),
    "uvicorn-systemd-sockets": ("socket", [UVICORN, "--fd", "3", ASGI]),
    "prefork": ("prefork", []),
}  # fmt: skip


def supervised(how: str, ports: Sequence[int], command: Sequence[str]) -> list[str]:
    if how == "prefork":
        return [sys.executable, "prefork.py", str(ports[0]), "2"]
    return [
        sys.executable,
        "supervisor.py",
        how,
        ",".join(map(str, ports)),
        *(word if how == "port" else word.replace("{port}", str(ports[0])) for word in command),
    ]


def statuses(port: int, count: int) -> list[int]:
    """The statuses of requests that many threads could not share more evenly: each on a connection of its own."""
    found = []
    for _ in range(count):
        with contextlib.suppress(OSError):  # a process that ends, or is replaced
            found.append(request(port, method="GET").status)
    return found


@pytest.mark.parametrize("how", SAME_PORT)
def test_of_processes_on_one_port_one_decides(how: str) -> None:
    kind, command = SAME_PORT[how]
    port = free_port()
    ports = [port] * (3 if kind == "port" else 1)
    with running(supervised(kind, ports, command), port, cwd=APPS) as process:
        time.sleep(0.5)
        found: list[int] = []
        until(lambda: found.extend(statuses(port, 5)) or "[RLK202]" in process.text(), process, 40)
        found += statuses(port, 20)
        assert found.count(200) <= LIMIT, process.text()
        assert f"serves the same application on 127.0.0.1:{port}" in process.text()
        assert set(found) <= {200, 429, 503}


@pytest.mark.servers
@pytest.mark.parametrize("how", SAME_PORT)
def test_a_store_of_the_host_may_be_shared(how: str) -> None:
    kind, command = SAME_PORT[how]
    port = free_port()
    ports = [port] * (3 if kind == "port" else 1)
    with running(supervised(kind, ports, command), port, cwd=APPS, env={"STORE_URL": host_url()}) as process:
        assert set(statuses(port, 40)) <= {200, 429}
        assert "RLK2" not in process.text()


BEHIND = """
daemon off;
pid {folder}/pid;
error_log {folder}/errors;
events {{}}
http {{
  access_log off;
  client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  upstream site {{ {servers} }}
  server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://site; proxy_next_upstream off; }} }}
}}
"""


@contextlib.contextmanager
def nginx(folder: Path, ports: Sequence[int]) -> Iterator[int]:
    """A balancer in front of several ports."""
    port = free_port()
    servers = " ".join(f"server 127.0.0.1:{one} max_fails=0;" for one in ports)
    file = folder / "nginx.conf"
    file.write_text(BEHIND.format(folder=folder, servers=servers, port=port))
    folder.chmod(0o755)
    with running([need("nginx"), "-c", str(file), "-e", str(folder / "errors")], port):
        yield port


PORTS = {
    "uvicorn": [UVICORN, "--port", "{port}", ASGI],
    "gunicorn": [GUNICORN, "--bind", "127.0.0.1:{port}", WSGI],
    "uwsgi": [UWSGI, "--master", "--die-on-term", "--http-socket", "127.0.0.1:{port}", "--wsgi-file", "memory_app.py"],
    "waitress": [python_program("waitress-serve"), "--listen", "127.0.0.1:{port}", WSGI],
}


def all_serve(process: Process, ports: Sequence[int]) -> None:
    def serve() -> bool:
        return all(statuses(port, 1) for port in ports)

    until(serve, process)


@pytest.mark.parametrize(
    "server", [name if name == "gunicorn" else pytest.param(name, marks=pytest.mark.servers) for name in PORTS]
)
def test_of_processes_on_several_ports_behind_nginx_one_decides(server: str, tmp_path: Path) -> None:
    ports = [free_port() for _ in range(2)]
    with (
        running(supervised("port", ports, PORTS[server]), ports[0], cwd=APPS) as process,
        nginx(tmp_path, ports) as port,
    ):
        found: list[int] = []
        until(lambda: found.extend(statuses(port, 2)) or "[RLK202]" in process.text(), process, 40)
        assert "serves the same application on another port or socket" in process.text()
        found += statuses(port, 30)
        assert found.count(200) <= LIMIT, process.text()


@pytest.mark.parametrize("env", [{"STORE_URL": host_url()}, {"RATELIMIT_KIT_WORKERS": "1"}], ids=["host", "declared"])
def test_what_may_serve_on_several_ports_does(env: dict[str, str]) -> None:
    ports = [free_port() for _ in range(2)]
    with running(supervised("port", ports, PORTS["uvicorn"]), ports[0], cwd=APPS, env=env) as process:
        all_serve(process, ports)
        end = time.monotonic() + 7  # longer than the wait for a sibling
        until(
            lambda: set(statuses(ports[0], 1) + statuses(ports[1], 1)) <= {200, 429} and time.monotonic() > end, process
        )
        assert "RLK2" not in process.text()


@pytest.mark.parametrize("applications", [(ASGI, ASGI), (ASGI, "fastapi_app:app")], ids=["environment", "command"])
def test_two_sites_of_one_parent_both_serve(applications: tuple[str, str]) -> None:
    """Another command is another site; another environment may be one, and is warned of."""
    ports = [free_port() for _ in range(2)]
    command = [sys.executable, "two_sites.py", *map(str, ports), *applications]
    with running(command, ports[0], cwd=APPS) as process:
        all_serve(process, ports)
        end = time.monotonic() + 7
        until(
            lambda: set(statuses(ports[0], 1) + statuses(ports[1], 1)) <= {200, 429} and time.monotonic() > end, process
        )
        assert process.text().count("RLK2") == process.text().count("[RLK254]") == (applications[0] == applications[1])


def test_proof_outlives_cleaned_temporary_files(tmp_path: Path) -> None:
    """systemd-tmpfiles removes what is ten days old; here the folder itself goes, and another process cannot be written to."""
    port = free_port()
    command = [GUNICORN, "--reuse-port", "--bind", f"127.0.0.1:{port}", WSGI]
    with running(command, port, cwd=APPS, env={"TMPDIR": str(tmp_path)}) as first:
        assert statuses(port, 1) == [200]
        assert [one.name for one in tmp_path.iterdir() if "ratelimit" in one.name] == []
        with running(command, port, cwd=APPS, env={"TMPDIR": "/proc"}) as second:
            found: list[int] = []
            until(lambda: found.extend(statuses(port, 5)) or "[RLK202]" in second.text(), second, 40)
            assert found.count(200) < LIMIT
        assert "RLK2" not in first.text()
