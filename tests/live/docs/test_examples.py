"""Every example on its real server, with several workers and a real Redis: exact counts for every kind of limit."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlencode

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from tests.processes import EXAMPLES, Process, RedisServer, free_port, python_program, request, running

pytestmark = pytest.mark.live

QUIET = ["--log-level", "warning"]


@contextlib.contextmanager
def gunicorn(app: str, redis: RedisServer, folder: str = "") -> Iterator[Process]:
    port = free_port()
    command = [python_program("gunicorn"), "--workers", "4", app, *QUIET, "--bind", f"127.0.0.1:{port}"]
    with running(command, port, cwd=EXAMPLES / folder, env={"STORE_URL": redis.patient_url()}) as process:
        yield process


@contextlib.contextmanager
def uvicorn(app: str, redis: RedisServer, folder: str = "") -> Iterator[Process]:
    port = free_port()
    command = [python_program("uvicorn"), "--workers", "2", app, *QUIET, "--port", str(port)]
    with running(command, port, cwd=EXAMPLES / folder, env={"STORE_URL": redis.patient_url()}) as process:
        yield process


@contextlib.contextmanager
def hypercorn(app: str, redis: RedisServer) -> Iterator[Process]:
    port = free_port()
    command = [python_program("hypercorn"), "--workers", "2", app, "--bind", f"127.0.0.1:{port}"]
    with running(command, port, cwd=EXAMPLES, env={"STORE_URL": redis.patient_url()}) as process:
        yield process


def statuses(port: int, path: str, times: int, *, method: str = "POST") -> list[int]:
    return [request(port, path, method=method).status for _ in range(times)]


def at_once(port: int, path: str, times: int = 100, *, method: str = "POST") -> Counter[int]:
    with ThreadPoolExecutor(16) as pool:
        return Counter(pool.map(lambda _: request(port, path, method=method).status, range(times)))


def log_in(port: int, password: str, *, as_json: bool) -> int:
    form = {"password": password}
    body = json.dumps(form) if as_json else urlencode(form)
    kind = "application/json" if as_json else "application/x-www-form-urlencoded"
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
        connection.request("POST", "/login", body=body, headers={"Content-Type": kind})
        return connection.getresponse().status


TEN = [200] * 10 + [429] * 5


def assert_only_failures_count(port: int, *, as_json: bool) -> None:
    """Right passwords never count; ten wrong ones do, and then right ones are refused too."""
    right = [log_in(port, "open sesame", as_json=as_json) for _ in range(5)]
    wrong = [log_in(port, "wrong", as_json=as_json) for _ in range(12)]
    assert right == [200] * 5
    assert wrong == [401] * 10 + [429] * 2
    assert log_in(port, "open sesame", as_json=as_json) == 429


def test_flask(redis: RedisServer) -> None:
    with gunicorn("flask_app:create_app()", redis) as server:
        port = server.port
        assert statuses(port, "/", 8) + statuses(port, "/missing", 7) == [200] * 8 + [404] * 2 + [429] * 5
        assert at_once(port, "/search") == {200: 10, 429: 90}
        assert statuses(port, "/api/items", 9, method="GET") == [200] * 9
        assert statuses(port, "/api/items/7", 3, method="GET") == [200, 429, 429]
        assert_only_failures_count(port, as_json=False)
        assert statuses(port, "/webhook", 15) == [200] * 15
        assert statuses(port, "/healthz", 15, method="GET") == [200] * 15


def test_fastapi(redis: RedisServer) -> None:
    with uvicorn("fastapi_app:app", redis) as server:
        port = server.port
        assert statuses(port, "/", 8) + statuses(port, "/missing", 7) == [200] * 8 + [404] * 2 + [429] * 5
        assert at_once(port, "/search") == {200: 10, 429: 90}
        assert at_once(port, "/report") == {200: 10, 429: 90}
        assert statuses(port, "/api/items", 9, method="GET") == [200] * 9
        assert statuses(port, "/api/items/7", 3, method="GET") == [200, 429, 429]
        assert_only_failures_count(port, as_json=True)
        assert statuses(port, "/healthz/", 15, method="GET") == [200] * 15


@pytest.mark.parametrize("serve", [gunicorn, uvicorn], ids=["gunicorn", "uvicorn"])
def test_django(redis: RedisServer, serve: type) -> None:
    app = "website.wsgi:application" if serve is gunicorn else "website.asgi:application"
    with serve(app, redis, "django_site") as server:
        port = server.port
        assert at_once(port, "/contact") == {200: 10, 429: 90}
        assert at_once(port, "/search") == {200: 10, 429: 90}
        assert statuses(port, "/items/7", 15) == TEN
        assert statuses(port, "/items/8", 3) == [200] * 3
        right = [request(port, "/code", headers={"X-Code": "open sesame"}).status for _ in range(5)]
        assert right == [200] * 5
        assert statuses(port, "/code", 15) == [403] * 10 + [429] * 5
        assert statuses(port, "/hooks/payment", 15) == [200] * 15
        assert statuses(port, "/healthz", 15, method="GET") == [200] * 15


def test_django_rest_framework(redis: RedisServer) -> None:
    with gunicorn("website.wsgi:application", redis, "drf_site") as server:
        port = server.port
        assert statuses(port, "/search", 6, method="GET") == [200] * 5 + [429]
        assert Counter(statuses(port, "/items", 15, method="GET")) == {200: 5, 429: 10}, "the 429 above charged nothing"
        assert statuses(port, "/ping", 15, method="GET") == [200] * 15
        denied = request(port, "/items", method="GET")
        assert denied.headers["ratelimit"].startswith('"throttle.user";r=0;t=')
        assert 1 <= int(denied.headers["retry-after"]) <= 60


@pytest.mark.parametrize(
    ("serve", "app"),
    [(uvicorn, "litestar_app:application"), (hypercorn, "quart_app:app")],
    ids=["litestar", "quart"],
)
def test_other_asgi_frameworks(redis: RedisServer, serve: type, app: str) -> None:
    with serve(app, redis) as server:
        assert at_once(server.port, "/contact") == {200: 10, 429: 90}
        assert statuses(server.port, "/contact", 2) == [429, 429]


def test_websockets(redis: RedisServer) -> None:
    """Ten messages over all connections, each echoed; the eleventh ends its connection. Then 20 connections."""
    with uvicorn("websocket_app:application", redis) as server:
        url = f"ws://127.0.0.1:{server.port}/"
        for count in (4, 6):
            with connect(url) as socket:
                for number in range(count):
                    socket.send(str(number))
                    assert socket.recv() == str(number)
        with connect(url) as socket:
            socket.send("one too many")
            with pytest.raises(ConnectionClosed) as closed:
                socket.recv()
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == 1013
            assert closed.value.rcvd.reason.startswith("Too many messages: try again in ")
        for _ in range(17):
            with connect(url):
                pass
        with pytest.raises(InvalidStatus) as refused, connect(url):
            pass
        assert refused.value.response.status_code == 429
        assert 1 <= int(refused.value.response.headers["Retry-After"]) <= 60


@pytest.mark.parametrize("file", ["test_fastapi_app.py", "test_django_site.py"])
def test_the_tests_among_the_examples_pass(file: str) -> None:
    """As a user runs them: in a separate process, with the fixtures that pytest finds by itself."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:randomly", "-c", os.devnull, file]
    done = subprocess.run(
        command,
        cwd=EXAMPLES / "testing",
        env={**os.environ, "RATELIMIT_KIT_STORE": "memory://"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
