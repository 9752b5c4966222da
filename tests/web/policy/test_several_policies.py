"""Several policies on one application: each applies, and each counts in its own store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import fastapi
import flask
import pytest
from django.core.handlers.wsgi import WSGIHandler
from django.test.utils import override_settings

import ratelimit_kit.fastapi
import ratelimit_kit.flask
from ratelimit_kit import MemoryStore, Policy, Rule
from ratelimit_kit.asgi import RateLimitMiddleware as Asgi
from ratelimit_kit.django.site import site_policy
from ratelimit_kit.wsgi import RateLimitMiddleware as Wsgi
from tests.integrations import Site
from tests.outage.flaky import Flaky
from tests.test_wsgi import hello


async def ahello(_scope: Any, _receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"in"})


def wsgi(policies: Sequence[Policy]) -> Site:
    app: Any = hello
    for policy in policies:
        app = Wsgi(app, policy)
    return Site(app, asgi=False, ran=[])  # type: ignore[arg-type]


def asgi(policies: Sequence[Policy]) -> Site:
    app: Any = ahello
    for policy in policies:
        app = Asgi(app, policy)
    return Site(app, asgi=True, ran=[])  # type: ignore[arg-type]


def of_flask(policies: Sequence[Policy]) -> Site:
    app = flask.Flask("several")
    for policy in policies:
        ratelimit_kit.flask.RateLimit(app, policy)
    app.add_url_rule("/plain", view_func=lambda: "in", endpoint="plain")
    return Site(app, asgi=False, ran=[])  # type: ignore[arg-type]


def of_fastapi(policies: Sequence[Policy]) -> Site:
    app = fastapi.FastAPI()
    for policy in policies:
        ratelimit_kit.fastapi.install(app, policy)
    app.add_api_route("/plain", lambda: "in")
    return Site(app, asgi=True, ran=[])  # type: ignore[arg-type]


def flask_within_wsgi(policies: Sequence[Policy]) -> Site:
    inner, outer = policies
    return Site(Wsgi(of_flask([inner]).application, outer), asgi=False, ran=[])  # type: ignore[arg-type]


def django_within_wsgi(policies: Sequence[Policy], patch: pytest.MonkeyPatch) -> Site:
    inner, outer = policies
    patch.setattr("ratelimit_kit.django.middleware.site_policy", lambda: inner)
    return Site(Wsgi(WSGIHandler(), outer), asgi=False, ran=[])  # type: ignore[arg-type]


SITES: dict[str, Callable[..., Site]] = {
    "wsgi": wsgi,
    "asgi": asgi,
    "flask": of_flask,
    "fastapi": of_fastapi,
    "flask within wsgi": flask_within_wsgi,
    "django within wsgi": django_within_wsgi,
}


@pytest.fixture(params=SITES)
def make(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes a site under two policies."""
    name = request.param
    if name != "django within wsgi":
        yield SITES[name]
        return
    with override_settings(ROOT_URLCONF="tests.django.urls"):
        yield lambda policies: django_within_wsgi(policies, monkeypatch)
    site_policy.cache_clear()


def statuses(site: Site, number: int) -> list[bool]:
    """Whether each of so many requests was refused."""
    return [site.ask("/plain").status == 429 for _ in range(number)]


@pytest.mark.parametrize("limits", [("1/minute", "9/minute"), ("9/minute", "1/minute")], ids=str)
def test_a_second_policy_applies_beside_the_first(make: Any, limits: tuple[str, str]) -> None:
    site = make([Policy(Rule(limit, key="ip"), store=MemoryStore()) for limit in limits])
    assert statuses(site, 3) == [False, True, True]


@pytest.mark.parametrize("modes", [("shadow", "enforce"), ("enforce", "shadow")], ids=str)
def test_what_looks_alike_counts_in_each_store(make: Any, modes: tuple[Any, Any]) -> None:
    """A charge in one store does not excuse another, least of all one in shadow."""
    site = make([Policy(Rule("2/minute", key="ip"), store=MemoryStore(), mode=mode) for mode in modes])
    assert statuses(site, 4) == [False, False, True, True]


@pytest.mark.parametrize("share", [lambda: [MemoryStore()] * 2, lambda: [Flaky(), Flaky()]], ids=["same", "shared"])
def test_what_counts_in_the_same_place_is_charged_once(make: Any, share: Callable[[], list[Any]]) -> None:
    """Stores that processes share are the same if their names are, as two with one URL are."""
    stores = share()
    site = make([Policy(Rule("2/minute", key="ip"), store=store) for store in stores])
    statuses(site, 1)
    assert sum(len(store) for store in set(stores)) == 1
