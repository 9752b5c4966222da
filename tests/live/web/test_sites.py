"""The main purpose: exact counts on real servers with several workers and a real Redis."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import http_sfv
import pytest
import redis as redis_library

from tests.processes import (
    EXAMPLES,
    RedisServer,
    Response,
    free_port,
    memcached_server,
    python_program,
    redis_server,
    request,
    running,
)

pytestmark = pytest.mark.live

GUNICORN = python_program("gunicorn")
UVICORN = python_program("uvicorn")


def assert_exactly_ten_pass(responses: list[Response], name: str) -> None:
    assert Counter(response.status for response in responses) == {200: 10, 429: 5}
    assert [response.status for response in responses] == [200] * 10 + [429] * 5
    for left, response in zip(range(9, -1, -1), responses, strict=False):
        assert f'"{name}";r={left};' in response.headers["ratelimit"]
    for response in responses[10:]:
        assert_tells_the_whole_story(response, name)


def assert_tells_the_whole_story(response: Response, name: str) -> None:
    wait = int(response.headers["retry-after"])
    assert 1 <= wait <= 60
    state = _list(response.headers["ratelimit"])
    assert state == [(name, {"r": 0, "t": wait})]
    assert _list(response.headers["ratelimit-policy"]) == [(name, {"q": 10, "w": 60})]
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["cache-control"] == "no-store"
    assert json.loads(response.body) == {
        "type": "https://iana.org/assignments/http-problem-types#quota-exceeded",
        "title": "Too many requests",
        "status": 429,
        "detail": f"Try again in {wait} second{'s' if wait > 1 else ''}.",
        "violated-policies": [name],
    }


def _list(field: str) -> list[tuple[str, dict[str, int]]]:
    """The field as an independent structured-fields library reads it."""
    parsed = http_sfv.List()
    parsed.parse(field.encode())
    return [(item.value, dict(item.params)) for item in parsed]


def test_wsgi_with_four_gunicorn_workers(redis: RedisServer) -> None:
    command = [GUNICORN, "--workers", "4", "wsgi_app:application", "--log-level", "warning"]
    port = free_port()
    with running([*command, "--bind", f"127.0.0.1:{port}"], port, cwd=EXAMPLES, env={"STORE_URL": redis.patient_url()}):
        assert_exactly_ten_pass([request(port) for _ in range(15)], "requests")


def test_asgi_with_two_uvicorn_workers(redis: RedisServer) -> None:
    command = [UVICORN, "--workers", "2", "asgi_app:application", "--log-level", "warning"]
    port = free_port()
    with running([*command, "--port", str(port)], port, cwd=EXAMPLES, env={"STORE_URL": redis.patient_url()}):
        assert_exactly_ten_pass([request(port) for _ in range(15)], "requests")


def test_wsgi_and_asgi_workers_on_memcached() -> None:
    gunicorn = [GUNICORN, "--workers", "4", "wsgi_app:application", "--log-level", "warning", "--bind"]
    uvicorn = [UVICORN, "--workers", "2", "asgi_app:application", "--log-level", "warning", "--port"]
    for command in (gunicorn, uvicorn):
        port = free_port()
        address = f"127.0.0.1:{port}" if command is gunicorn else str(port)
        with memcached_server() as store:
            url = f"memcached://127.0.0.1:{store.port}?timeout=5"
            with running([*command, address], port, cwd=EXAMPLES, env={"STORE_URL": url}):
                assert_exactly_ten_pass([request(port) for _ in range(15)], "requests")


@pytest.mark.parametrize(
    ("path", "name"), [("/contact", "contact"), ("/login", "login")], ids=["middleware", "decorator"]
)
@pytest.mark.parametrize(
    "command",
    [
        [GUNICORN, "--workers", "4", "website.wsgi:application", "--log-level", "warning", "--bind"],
        [
            UVICORN,
            "--workers",
            "2",
            "website.asgi:application",
            "--log-level",
            "warning",
            "--host",
            "127.0.0.1",
            "--port",
        ],
    ],
    ids=["gunicorn", "uvicorn"],
)
def test_django_with_several_workers(redis: RedisServer, command: list[str], path: str, name: str) -> None:
    port = free_port()
    address = f"127.0.0.1:{port}" if command[-1] == "--bind" else str(port)
    with running([*command, address], port, cwd=EXAMPLES / "django_site", env={"STORE_URL": redis.patient_url()}):
        assert_exactly_ten_pass([request(port, path) for _ in range(15)], name)


def test_four_workers_share_what_many_clients_at_once_send(redis: RedisServer) -> None:
    command = [GUNICORN, "--workers", "4", "wsgi_app:application", "--log-level", "warning"]
    port = free_port()
    with (
        running([*command, "--bind", f"127.0.0.1:{port}"], port, cwd=EXAMPLES, env={"STORE_URL": redis.patient_url()}),
        ThreadPoolExecutor(16) as pool,
    ):
        statuses = Counter(pool.map(lambda _: request(port).status, range(100)))
    assert statuses == {200: 10, 429: 90}


def test_a_django_cache_is_used_with_its_own_prefix_user_password_and_database(tmp_path: Path) -> None:
    """A Redis user that may access only keys that begin with the cache's KEY_PREFIX is enough."""
    user = ["--user", "site", "on", ">pa ss", "~shop:*", "+@all"]
    with redis_server(*user) as server, connect(server) as raw:
        (tmp_path / "cached.py").write_text(
            "from django.conf import settings\n"
            "settings.configure(CACHES={'limits': {\n"
            "    'BACKEND': 'django.core.cache.backends.redis.RedisCache', 'KEY_PREFIX': 'shop',\n"
            f"    'LOCATION': 'redis://127.0.0.1:{server.port}',\n"
            "    'OPTIONS': {'username': 'site', 'password': 'pa ss', 'db': 7, 'protocol': 3}}})\n"
            "from ratelimit_kit import Limiter\n"
            "limiter = Limiter('1/minute', store='django-cache://limits')\n"
            "print([limiter.hit('key').allowed for _ in range(2)])\n"
        )
        done = subprocess.run([sys.executable, "cached.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.stdout.strip() == "[True, False]", done.stderr
        assert raw.keys("*") == [b"shop:rlk:2:sw-60000000:{default:key}"]


def connect(server: RedisServer) -> redis_library.Redis:
    return redis_library.Redis(port=server.port, db=7)
