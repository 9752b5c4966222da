"""The guard on real servers: a per-process store under several workers never serves a request."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.processes import EXAMPLES, free_port, python_program, redis_server, request, running

pytestmark = pytest.mark.live

APPS = Path(__file__).parent / "apps"
GUNICORN = python_program("gunicorn")
UVICORN = python_program("uvicorn")
HYPERCORN = python_program("hypercorn")
GRANIAN = python_program("granian")
FASTAPI = python_program("fastapi")
UWSGI = python_program("pyuwsgi")

REFUSALS: dict[str, tuple[list[str], dict[str, str], str, int]] = {
    "gunicorn": ([GUNICORN, "--workers", "4"], {}, "gunicorn is starting 4 workers (--workers 4)", 3),
    "gunicorn-equals": ([GUNICORN, "--workers=3"], {}, "gunicorn is starting 3 workers (--workers 3)", 3),
    "gunicorn-threads": (
        [GUNICORN, "-w", "4", "--threads", "2"],
        {},
        "gunicorn is starting 4 workers (--workers 4)",
        3,
    ),
    "gunicorn-preload": ([GUNICORN, "--preload", "-w", "4"], {}, "gunicorn is starting 4 workers (--workers 4)", 3),
    "gunicorn-variable": (
        [GUNICORN],
        {"WEB_CONCURRENCY": "3"},
        "gunicorn is starting 3 workers (WEB_CONCURRENCY=3)",
        3,
    ),
    "gunicorn-arguments": (
        [GUNICORN],
        {"GUNICORN_CMD_ARGS": "--workers 2"},
        "gunicorn is starting 2 workers (GUNICORN_CMD_ARGS)",
        3,
    ),
    "gunicorn-file": (
        [GUNICORN, "--config", "gunicorn_conf.py"],
        {},
        "gunicorn is starting 3 workers (its configuration)",
        3,
    ),
    "gunicorn-declared": ([GUNICORN], {"RATELIMIT_KIT_WORKERS": "8"}, "RATELIMIT_KIT_WORKERS=8 is declared", 3),
    "uvicorn": ([UVICORN, "--workers", "2"], {}, "uvicorn is starting 2 workers (--workers 2)", 0),
    "uvicorn-variable": ([UVICORN], {"WEB_CONCURRENCY": "2"}, "uvicorn is starting 2 workers (WEB_CONCURRENCY=2)", 0),
    "uvicorn-no-lifespan": (
        [UVICORN, "--workers", "2", "--lifespan", "off"],
        {},
        "uvicorn is starting 2 workers (--workers 2)",
        0,
    ),
    "fastapi": ([FASTAPI, "run", "--workers", "2"], {}, "uvicorn is starting 2 workers (--workers 2)", 0),
    "fastapi-limiter": (
        [FASTAPI, "run", "fastapi_limiter.py", "--workers", "2"],
        {},
        "fastapi run is starting 2 workers (--workers 2)",
        3,
    ),
    "fastapi-uvicorn": (
        [UVICORN, "fastapi_app:app", "--workers", "2"],
        {},
        "uvicorn is starting 2 workers (--workers 2)",
        0,
    ),
    "fastapi-hypercorn": (
        [HYPERCORN, "fastapi_app:app", "-w", "2"],
        {},
        "hypercorn is starting 2 workers (--workers 2)",
        0,
    ),
    "fastapi-granian": (
        [GRANIAN, "fastapi_app:app", "--interface", "asgi", "--workers", "2"],
        {},
        "granian is starting 2 workers (--workers 2)",
        1,
    ),
    "fastapi-gunicorn": (
        [GUNICORN, "fastapi_app:app", "--workers", "2", "--worker-class", "asgi"],
        {},
        "gunicorn is starting 2 workers (--workers 2)",
        3,
    ),
    "hypercorn": ([HYPERCORN, "-w", "2"], {}, "hypercorn is starting 2 workers (--workers 2)", 0),
    "granian-asgi": (
        [GRANIAN, "--interface", "asgi", "--workers", "2"],
        {},
        "granian is starting 2 workers (--workers 2)",
        1,
    ),
    "granian-wsgi": (
        [GRANIAN, "--interface", "wsgi"],
        {"GRANIAN_WORKERS": "2"},
        "granian is starting 2 workers (GRANIAN_WORKERS=2)",
        1,
    ),
    "uwsgi": ([UWSGI, "--master", "--processes", "2"], {}, "uWSGI is starting 2 workers (processes = 2)", 3),
}
"""The parents of uvicorn and hypercorn exit with 0 whatever their workers do."""

STARTS: dict[str, tuple[list[str], dict[str, str]]] = {
    "gunicorn": ([GUNICORN], {}),
    "gunicorn-threads": ([GUNICORN, "--threads", "4"], {}),
    "gunicorn-declared-one": ([GUNICORN, "--workers", "2"], {"RATELIMIT_KIT_WORKERS": "1"}),
    "uvicorn": ([UVICORN], {}),
    "uvicorn-one": ([UVICORN, "--workers", "1"], {}),
    "uvicorn-reload": ([UVICORN, "--reload"], {}),
    "fastapi": ([FASTAPI, "run"], {}),
    "hypercorn": ([HYPERCORN], {}),
    "granian-asgi": ([GRANIAN, "--interface", "asgi"], {}),
    "granian-wsgi": ([GRANIAN, "--interface", "wsgi"], {}),
    "uwsgi": ([UWSGI, "--master", "--processes", "1"], {}),
    "waitress": ([python_program("waitress-serve")], {}),
    "daphne": ([python_program("daphne")], {}),
}


def command_line(command: list[str], port: int) -> list[str]:
    wsgi, asgi, address = "memory_app:application", "memory_app:asgi_application", f"127.0.0.1:{port}"
    name = Path(command[0]).name
    if "fastapi_app:app" in command:
        return [*command, "--bind", address] if name in {"gunicorn", "hypercorn"} else [*command, "--port", str(port)]
    if name == "gunicorn":
        return [*command, wsgi, "--bind", address]
    if name == "hypercorn":
        return [*command, "--bind", address, asgi]
    if name == "fastapi":
        return [*command, "--port", str(port), *([] if "fastapi_limiter.py" in command else ["fastapi_app.py"])]
    if name == "pyuwsgi":
        return [*command, "--http-socket", address, "--die-on-term", "--wsgi-file", "memory_app.py"]
    if name == "waitress-serve":
        return [*command, "--listen", address, wsgi]
    return [*command, "--port", str(port), wsgi if "wsgi" in command else asgi]


@pytest.mark.parametrize(("command", "env", "found", "exit_code"), REFUSALS.values(), ids=REFUSALS.keys())
def test_a_memory_store_under_several_workers_ends_the_server(
    command: list[str], env: Mapping[str, str], found: str, exit_code: int
) -> None:
    port = free_port()
    seconds = 5 if command[0] == GUNICORN else 15  # uvicorn's parent looks after its workers every 5 seconds
    with running(command_line(command, port), port, cwd=APPS, env=env, wait=False) as process:
        code = process.wait_until_ended(seconds)
        text = process.text()
    assert code == exit_code
    assert text.count("[RLK201]") == 1
    assert f"MemoryStore counts per process, and {found}: each client would get" in text
    if "fastapi_app:app" not in command or command[0] != HYPERCORN:  # which prints every failed lifespan
        assert "Traceback" not in text
        assert len(text.splitlines()) < 60
    with pytest.raises(ConnectionRefusedError):
        request(port)


@pytest.mark.parametrize(("command", "env"), STARTS.values(), ids=STARTS.keys())
def test_one_worker_starts_and_serves(command: list[str], env: Mapping[str, str]) -> None:
    port = free_port()
    with running(command_line(command, port), port, cwd=APPS, env=env) as process:
        end = time.monotonic() + 10
        while time.monotonic() < end:
            try:
                assert request(port, method="GET").status == 200
                break
            except ConnectionError:
                time.sleep(0.05)
        else:
            pytest.fail(process.text())
        assert "RLK201" not in process.text()


def test_where_exits_are_respawned_for_ever_the_site_answers_5xx() -> None:
    port = free_port()
    command = command_line([UWSGI, "--master", "--processes", "2", "--lazy-apps"], port)
    with running(command, port, cwd=APPS) as process:
        assert [request(port, method="GET").status for _ in range(3)] == [500] * 3
        assert "ConfigurationError: MemoryStore counts per process, and uWSGI is starting 2 workers" in process.text()


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
        redis.process.stop()
        statuses = set()
        end = time.monotonic() + 10
        while process.text().count("Booting worker") < 6 and time.monotonic() < end:
            with contextlib.suppress(ConnectionError):
                statuses.add(request(port).status)
        assert statuses == {200}
        assert process.text().count("Booting worker") >= 6
        assert process.popen.poll() is None
        assert "admitted without a count meanwhile" in process.text()


def test_a_worker_added_to_a_running_server_does_not_serve_and_the_others_go_on() -> None:
    port = free_port()
    with running(command_line([GUNICORN], port), port, cwd=APPS) as process:
        first = request(port, method="GET")
        assert first.status == 200
        process.popen.send_signal(signal.SIGTTIN)
        end = time.monotonic() + 15
        while process.text().count("[RLK202]") < 2 and time.monotonic() < end:
            time.sleep(0.05)
        assert process.text().count("[RLK202]") == 2
        assert "was told to have 2 workers" in process.text()
        assert process.popen.poll() is None
        statuses = [request(port, method="GET").status for _ in range(12)]
        assert statuses == [200] * 9 + [429] * 3
        process.popen.send_signal(signal.SIGTTOU)


def test_a_reload_of_one_worker_is_no_false_alarm() -> None:
    port = free_port()
    with running(command_line([GUNICORN], port), port, cwd=APPS) as process:
        assert request(port, method="GET").status == 200
        process.popen.send_signal(signal.SIGHUP)
        end = time.monotonic() + 10
        while process.text().count("Booting worker") < 2 and time.monotonic() < end:
            time.sleep(0.05)
        assert process.text().count("Booting worker") == 2
        assert request(port, method="GET").status == 200
        assert "RLK2" not in process.text()
