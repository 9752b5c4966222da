"""A request that passes the same rule in several layers is charged once: in Django, in Flask and in FastAPI."""

from __future__ import annotations

import pytest

from tests.live.servers import APPS
from tests.processes import RedisServer, free_port, python_program, request, running

pytestmark = pytest.mark.live


@pytest.mark.parametrize(
    ("server", "app", "paths"),
    [
        ("gunicorn", "layers:application", ["/django", "/flask"]),
        ("uvicorn", "layers:asgi_application", ["/django", "/adjango", "/fastapi"]),
    ],
    ids=["gunicorn", "uvicorn"],
)
def test_a_rule_in_three_layers_counts_once(redis: RedisServer, server: str, app: str, paths: list[str]) -> None:
    port = free_port()
    where = ["--bind", f"127.0.0.1:{port}"] if server == "gunicorn" else ["--port", str(port), "--lifespan", "off"]
    command = [python_program(server), app, "--workers", "2", "--log-level", "warning", *where]
    with running(command, port, cwd=APPS, env={"STORE_URL": redis.patient_url()}):
        left = {"/django": 10, "/adjango": 0, "/flask": 10, "/fastapi": 10}  # both Django views share the one rule
        for path in paths:
            answers = [request(port, path, method="GET") for _ in range(15)]
            assert [one.status for one in answers] == [200] * left[path] + [429] * (15 - left[path]), path
            for number, one in enumerate(answers[: left[path]], start=1):
                assert one.headers["ratelimit"].count('"site"') == 1, "one item, from the outermost layer"
                assert one.headers["ratelimit"].startswith(f'"site";r={10 - number};')
