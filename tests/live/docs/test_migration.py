"""Before and after a migration: a site responds to the same requests in the same way on another library and on this."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis as redis_py
from django.conf import settings

import django
from tests.processes import EXAMPLES, RedisServer

pytestmark = pytest.mark.live

FOLDER = EXAMPLES / "migrate"
PAIRS = sorted({path.stem.rsplit("_", 1)[0] for path in FOLDER.glob("*.py")})


def loaded(name: str, url: str) -> dict[str, Any]:
    """The definitions in the file, with the store of this test, which this library gives time on a busy machine."""
    url += "?timeout=5" if name.endswith("_after") else ""
    namespace: dict[str, Any] = {"__name__": name}
    text = (FOLDER / f"{name}.py").read_text().replace("redis://127.0.0.1:6379/0", url)
    exec(compile(text, name, "exec"), namespace)
    return namespace


@pytest.fixture
def url(redis: RedisServer) -> str:
    return redis.url()


def test_every_guide_has_its_pair() -> None:
    pages = {path.stem for path in (EXAMPLES.parent / "docs" / "how-to" / "migrate").glob("*.md")} - {"index"}
    assert {pair.replace("_", "-") for pair in PAIRS} == pages
    for pair in PAIRS:
        assert (FOLDER / f"{pair}_before.py").is_file()
        assert (FOLDER / f"{pair}_after.py").is_file()


@pytest.mark.parametrize("when", ["before", "after"])
def test_flask_limiter(when: str, url: str) -> None:
    app = loaded(f"flask_limiter_{when}", url)["app"]
    client = app.test_client()
    assert [client.post("/login").status_code for _ in range(7)] == [200] * 5 + [429] * 2
    assert [client.get("/healthz").status_code for _ in range(7)] == [200] * 7
    other = [client.post("/login", environ_base={"REMOTE_ADDR": "192.0.2.9"}).status_code for _ in range(6)]
    assert other == [200] * 5 + [429]


@pytest.mark.parametrize("when", ["before", "after"])
def test_slowapi(when: str, url: str) -> None:
    from starlette.testclient import TestClient

    app = loaded(f"slowapi_{when}", url)["app"]
    with TestClient(app) as client:
        assert [client.post("/login").status_code for _ in range(7)] == [200] * 5 + [429] * 2
        assert [client.get("/healthz").status_code for _ in range(7)] == [200] * 7


@pytest.mark.parametrize("when", ["before", "after"])
def test_limits(when: str, url: str) -> None:
    send = loaded(f"limits_{when}", url)["send"]
    assert [send("ann") for _ in range(7)] == [True] * 5 + [False] * 2
    assert send("bob")


@pytest.fixture
def site(url: str) -> Iterator[None]:
    from django.test import override_settings

    if not settings.configured:
        settings.configure(SECRET_KEY="tests", ALLOWED_HOSTS=["*"], INSTALLED_APPS=["ratelimit_kit"], USE_TZ=True)
        django.setup()
    cache = {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": url}
    with override_settings(CACHES={"default": cache}, RATELIMIT_KIT={"store": "django-cache://default"}):
        yield


@pytest.mark.parametrize(("when", "refusal"), [("before", 403), ("after", 429)])
def test_django_ratelimit(when: str, refusal: int, url: str, site: None) -> None:
    from django.core.exceptions import PermissionDenied
    from django.test import RequestFactory

    view = loaded(f"django_ratelimit_{when}", url)["login"]

    def visit(method: str) -> int:
        try:
            return view(getattr(RequestFactory(), method)("/login")).status_code
        except PermissionDenied:
            return 403

    assert [visit("post") for _ in range(7)] == [200] * 5 + [refusal] * 2
    assert [visit("get") for _ in range(3)] == [200] * 3
    with redis_py.Redis.from_url(url) as client:
        assert client.keys()


def test_the_pages_include_the_files_that_are_tested() -> None:
    for pair in PAIRS:
        page: Path = EXAMPLES.parent / "docs" / "how-to" / "migrate" / f"{pair.replace('_', '-')}.md"
        for when in ("before", "after"):
            assert f"examples/migrate/{pair}_{when}.py" in page.read_text()
