"""What scripts from another origin see through Starlette's CORS middleware, outside and inside the rate limit."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.live.servers import APPS
from tests.processes import Process, RedisServer, Response, free_port, python_program, request, running

pytestmark = pytest.mark.live

ORIGIN = {"Origin": "https://shop.example"}
PREFLIGHT = {**ORIGIN, "Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "x-api-key"}
ALLOWED = "access-control-allow-origin"
EXPOSED = "access-control-expose-headers"
ALL = "ratelimit-policy, ratelimit, retry-after"


@pytest.fixture(scope="module")
def server(redis: RedisServer) -> Iterator[Process]:
    port = free_port()
    command = [python_program("uvicorn"), "cors:application", "--lifespan", "off", "--log-level", "warning"]
    with running([*command, "--port", str(port)], port, cwd=APPS, env={"STORE_URL": redis.patient_url()}) as process:
        yield process


def conversation(port: int, place: str) -> tuple[list[Response], list[Response]]:
    """Five preflights, then three requests, of which the policy admits two."""
    asked = [request(port, f"/{place}/items", method="OPTIONS", headers=PREFLIGHT) for _ in range(5)]
    return asked, [request(port, f"/{place}/items", method="GET", headers=ORIGIN) for _ in range(3)]


def test_cors_around_the_limit_lets_scripts_read_refusals(server: Process) -> None:
    preflights, answers = conversation(server.port, "around")
    assert [(one.status, one.headers[ALLOWED]) for one in preflights] == [(200, "https://shop.example")] * 5
    assert [one.status for one in answers] == [200, 200, 429]
    for one in answers:
        assert one.headers[ALLOWED] == "https://shop.example"
        assert one.headers[EXPOSED].lower() == ALL
        assert {"ratelimit", "ratelimit-policy"} <= one.headers.keys()
    assert "retry-after" in answers[2].headers


def test_cors_within_the_limit_cannot_let_scripts_read_refusals(server: Process) -> None:
    """The known mistake: refused preflights are network errors to a page, and the 429 names no allowed origin."""
    preflights, answers = conversation(server.port, "within")
    assert [(one.status, ALLOWED in one.headers) for one in preflights] == [(200, True)] * 2 + [(429, False)] * 3
    assert [(one.status, ALLOWED in one.headers) for one in answers] == [(200, True), (200, True), (429, False)]


def test_a_cors_middleware_with_fields_of_its_own_has_the_last_word_on_what_is_exposed(server: Process) -> None:
    """This is why the documentation says to list the fields there too."""
    _, answers = conversation(server.port, "exposing")
    assert [(one.status, one.headers[EXPOSED]) for one in answers] == [
        (200, "X-Total"),
        (200, "X-Total"),
        (429, "X-Total"),
    ]
