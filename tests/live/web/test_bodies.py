"""Bodies pass unchanged, in every byte and in framing; a view that raises is called once, and its error propagates."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.live.raw_http import Raw, ask
from tests.live.servers import APPS
from tests.processes import Process, RedisServer, free_port, python_program, request, running

pytestmark = pytest.mark.live


@dataclass
class Site:
    """A server with the applications, and the file in which views record that they were called."""

    process: Process
    calls: Path
    body: bytes

    def get(self, path: str, **fields: str) -> Raw:
        return ask(self.process.port, path, fields=fields)

    def calls_made(self) -> int:
        made = len(self.calls.read_bytes())
        self.calls.write_bytes(b"")
        return made


@contextlib.contextmanager
def serving(server: str, app: str, folder: Path, store: str, **env: str) -> Iterator[Site]:
    port = free_port()
    body, calls = folder / "body", folder / f"calls-{port}"
    body.write_bytes(random.Random(1).randbytes(300_000))
    calls.write_bytes(b"")
    where = ["--bind", f"127.0.0.1:{port}"] if server == "gunicorn" else ["--port", str(port), "--lifespan", "off"]
    command = [python_program(server), app, "--workers", "2", "--log-level", "error", *where]
    env |= {"STORE_URL": store, "BODY_FILE": str(body), "CALLS": str(calls)}
    with running(command, port, cwd=APPS, env=env) as process:
        yield Site(process, calls, body.read_bytes())


@pytest.fixture(scope="module")
def wsgi(redis: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with serving("gunicorn", "bodies:application", tmp_path_factory.mktemp("wsgi"), redis.url()) as site:
        yield site


@pytest.fixture(scope="module")
def asgi(redis: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with serving("uvicorn", "bodies:asgi_application", tmp_path_factory.mktemp("asgi"), redis.url()) as site:
        yield site


@pytest.fixture(scope="module", params=["gunicorn", "uvicorn"])
def djangos(
    request: pytest.FixtureRequest, redis: RedisServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Site, Site]]:
    """A Django site without limits, and the same with them."""
    app = "bodies_django:application" if request.param == "gunicorn" else "bodies_django:asgi_application"
    folder = tmp_path_factory.mktemp("django")
    with (
        serving(request.param, app, folder, redis.url(), LIMITED="") as bare,
        serving(request.param, app, folder, redis.url(), LIMITED="yes") as limited,
    ):
        yield bare, limited


def assert_same_but_for_limits(bare: Raw, limited: Raw, *, rules: int) -> None:
    ours = [line for line in limited.fields if line.lower().startswith("ratelimit")]
    others = [line for line in limited.fields if line not in ours]
    assert limited.status == bare.status
    assert others == bare.fields
    assert limited.body == bare.body
    states = [line.partition(":")[2] for line in ours if line.lower().startswith("ratelimit:")]
    assert ", ".join(states).count(";r=") == rules


@pytest.mark.parametrize("view", ["generator", "closing", "file", "write", "late", "empty"])
def test_wsgi_bodies_are_the_same_with_and_without_the_middleware(wsgi: Site, view: str) -> None:
    wsgi.calls_made()
    bare, limited = wsgi.get(f"/plain/bare/{view}"), wsgi.get(f"/plain/limited/{view}")
    assert_same_but_for_limits(bare, limited, rules=1)
    assert bare.status == "HTTP/1.1 200 OK"
    if view == "closing":
        assert wsgi.calls_made() == 2, "each iterable was closed once"
    if view == "file":
        assert request(wsgi.process.port, "/plain/limited/file", method="GET").body == wsgi.body


@pytest.mark.parametrize(("view", "fields"), [("file", {}), ("file", {"Range": "bytes=100-199"}), ("stream", {})])
def test_flask_bodies_are_the_same_with_and_without_the_extension(
    wsgi: Site, view: str, fields: dict[str, str]
) -> None:
    bare, limited = wsgi.get(f"/flask/bare/{view}", **fields), wsgi.get(f"/flask/limited/{view}", **fields)
    assert_same_but_for_limits(bare, limited, rules=2)
    if view == "file":
        assert bare.body == (wsgi.body[100:200] if fields else wsgi.body)


@pytest.mark.parametrize(
    ("app", "view", "rules"),
    [("plain", "parts", 1), ("starlette", "stream", 2), ("starlette", "events", 2), ("starlette", "file", 2)],
)
def test_asgi_bodies_are_the_same_with_and_without_the_middleware(asgi: Site, app: str, view: str, rules: int) -> None:
    bare, limited = asgi.get(f"/{app}/bare/{view}"), asgi.get(f"/{app}/limited/{view}")
    assert_same_but_for_limits(bare, limited, rules=rules)
    if view == "file":
        assert bare.body == asgi.body


@pytest.mark.parametrize("view", ["file", "stream", "astream"])
def test_django_bodies_are_the_same_with_and_without_the_middleware(djangos: tuple[Site, Site], view: str) -> None:
    bare, limited = djangos[0].get(f"/{view}"), djangos[1].get(f"/{view}")
    assert_same_but_for_limits(bare, limited, rules=2)
    assert bare.status == "HTTP/1.1 200 OK"
    if view == "file":
        assert bare.body == djangos[0].body


@pytest.mark.parametrize(
    ("app", "view"),
    [("plain", "raise"), ("plain", "raise-late"), ("plain", "raise-midway"), ("flask", "raise")],
)
def test_a_wsgi_application_that_raises_is_called_once(wsgi: Site, app: str, view: str) -> None:
    for kind in ("bare", "limited"):
        wsgi.calls_made()
        before = wsgi.process.text().count("ValueError: the application's own")
        answer = wsgi.get(f"/{app}/{kind}/{view}")
        assert answer.status[9:12] == ("200" if view == "raise-midway" else "500")
        assert wsgi.calls_made() == 1
        assert wsgi.process.text().count("ValueError: the application's own") == before + 1, kind


@pytest.mark.parametrize(("app", "view"), [("plain", "raise"), ("plain", "raise-midway"), ("starlette", "raise")])
def test_an_asgi_application_that_raises_is_called_once(asgi: Site, app: str, view: str) -> None:
    for kind in ("bare", "limited"):
        asgi.calls_made()
        before = asgi.process.text().count("ValueError: the application's own")
        answer = asgi.get(f"/{app}/{kind}/{view}")
        assert answer.status[9:12] == ("200" if view == "raise-midway" else "500")
        assert asgi.calls_made() == 1
        assert asgi.process.text().count("ValueError: the application's own") == before + 1, kind


@pytest.mark.parametrize("view", ["raise", "araise"])
def test_a_django_view_that_raises_is_called_once(djangos: tuple[Site, Site], view: str) -> None:
    for site in djangos:
        site.calls_made()
        assert site.get(f"/{view}").status == "HTTP/1.1 500 Internal Server Error"
        assert site.calls_made() == 1


def test_a_generator_that_raises_before_its_response_is_given_back_where_only_successes_count(wsgi: Site) -> None:
    def left() -> int:
        state = next(line for line in wsgi.get("/plain/limited/empty").fields if line.startswith("RateLimit:"))
        return int(state.partition(";r=")[2].partition(";")[0])

    before = left()
    assert wsgi.get("/plain/limited/raise-late").status.startswith("HTTP/1.1 500")
    assert left() == before - 1, "only the two looks count"
