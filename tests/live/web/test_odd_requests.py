"""Requests that no browser sends: none makes the limiter fail, escapes it, or shares another client's counter."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from tests.live.servers import APPS
from tests.processes import Process, RedisServer, free_port, python_program, running

pytestmark = pytest.mark.live

ODD = {
    "bytes above ASCII in a field": b"GET /a/b HTTP/1.1\r\nHost: h\r\nX-Client: \xff\xfe\xc3\xa9\r\n\r\n",
    "bytes above ASCII in a cookie": b"GET /a/b HTTP/1.1\r\nHost: h\r\nCookie: session=\xe9; session; =; ;;a=b=c\r\n\r\n",
    "an encoded zero in the path": b"GET /a/%00%0d%0a HTTP/1.1\r\nHost: h\r\n\r\n",
    "broken UTF-8 in the path": b"GET /a/%ff%fe%c3 HTTP/1.1\r\nHost: h\r\n\r\n",
    "an encoded slash": b"GET /a%2fb HTTP/1.1\r\nHost: h\r\n\r\n",
    "a long path": b"GET /a/" + b"b" * 3000 + b" HTTP/1.1\r\nHost: h\r\n\r\n",
    "slashes only": b"GET //// HTTP/1.1\r\nHost: h\r\n\r\n",
    "an absolute form": b"GET http://h/a/b HTTP/1.1\r\nHost: h\r\n\r\n",
    "a method of one's own": b"BREW /a/b HTTP/1.1\r\nHost: h\r\n\r\n",
    "HTTP 1.0 without a host": b"GET /a/b HTTP/1.0\r\n\r\n",
    "an Accept that is none": b"GET /a/b HTTP/1.1\r\nHost: h\r\nAccept: ;;q=,text/html;q=abc,,*/*;q=9e999\r\n\r\n",
    "a thousand hops": b"GET /a/b HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: " + b"6.6.6.6, " * 400 + b"127.0.0.1\r\n\r\n",
    "hops on several lines": b"GET /a/b HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: ,\r\n\r\n",
    "a Forwarded that is none": b'GET /a/b HTTP/1.1\r\nHost: h\r\nForwarded: for="\\\r\n\r\n',
    "a Forwarded of quotes": b"GET /a/b HTTP/1.1\r\nHost: h\r\nForwarded: " + b'for="a\\"b";' * 200 + b"\r\n\r\n",
    "an origin of nothing": b"GET /a/b HTTP/1.1\r\nHost: h\r\nOrigin: null\r\n\r\n",
    "a key that looks like a command": b"GET /a/b HTTP/1.1\r\nHost: h\r\nX-Client: {x} DEL * \"'`\r\n\r\n",
}


@pytest.fixture(scope="module", params=["gunicorn", "uvicorn", "uvicorn, Forwarded"])
def server(request: pytest.FixtureRequest, redis: RedisServer) -> Iterator[Process]:
    port = free_port()
    commands = {
        "gunicorn": ["odd:application", "--bind", f"127.0.0.1:{port}"],
        "uvicorn": ["odd:asgi_application", "--port", str(port), "--lifespan", "off", "--no-proxy-headers"],
    }
    name, _, header = request.param.partition(", ")
    command = [python_program(name), *commands[name], "--log-level", "error"]
    env = {"STORE_URL": redis.patient_url(), "CLIENT_HEADER": header or "x-forwarded-for"}
    with running(command, port, cwd=APPS, env=env) as process:
        yield process


@pytest.mark.parametrize("raw", ODD.values(), ids=ODD)
def test_an_odd_request_is_limited_like_any_other_or_refused_by_the_server(server: Process, raw: bytes) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(raw.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        with connection.makefile("rb") as answer:
            head, _, _ = answer.read().partition(b"\r\n\r\n")
    status = int(head.split()[1])
    assert status in {200, 400}, head
    if status == 200:
        fields = head.decode("latin-1").lower()
        assert '"all";r=' in fields
        assert '"callable";r=' in fields
    assert "Traceback" not in server.text()
