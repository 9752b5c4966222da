"""A refusal that the application writes itself: the fields of the decision are on it all the same."""

from __future__ import annotations

from typing import Any

import fastapi
import flask
import pytest
from django.test import override_settings
from rest_framework.response import Response
from rest_framework.test import APIRequestFactory
from rest_framework.views import APIView
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient
from werkzeug.exceptions import HTTPException as WerkzeugException
from werkzeug.exceptions import TooManyRequests

import ratelimit_kit.fastapi
import ratelimit_kit.flask
from ratelimit_kit import MemoryStore, Policy, Rule
from ratelimit_kit.django.site import site_policy
from ratelimit_kit.drf import RateLimitThrottle
from ratelimit_kit.fastapi import RateLimited
from ratelimit_kit.testing import ManualClock

WORDS = "slow down"


def policy(**options: Any) -> Policy:
    return Policy(Rule("9/minute", key="ip", name="site"), store=MemoryStore(clock=ManualClock()), **options)


@pytest.fixture(params=[429, TooManyRequests, WerkzeugException, Exception], ids=str)
def of_flask(request: pytest.FixtureRequest) -> Any:
    app = flask.Flask("handlers")
    ratelimit_kit.flask.RateLimit(app, policy())
    app.register_error_handler(request.param, lambda _error: (WORDS, 429))
    app.add_url_rule("/", view_func=ratelimit_kit.flask.ratelimit("1/minute", name="login")(lambda: ""))
    app.add_url_rule("/plain", view_func=lambda: "", endpoint="plain")
    return app.test_client()


def test_flask(of_flask: Any) -> None:
    of_flask.get("/")
    answer = of_flask.get("/", headers={"Origin": "https://example.org"})
    assert (answer.status_code, answer.text) == (429, WORDS)
    assert answer.headers["RateLimit"] == '"login";r=0;t=60, "site";r=7;t=47'
    assert answer.headers["RateLimit-Policy"] == '"login";q=1;w=60, "site";q=9;w=60'
    assert answer.headers["Retry-After"] == "60"
    assert "RateLimit" in answer.headers["Access-Control-Expose-Headers"]


def test_flask_tells_of_the_policys_own_refusal(of_flask: Any) -> None:
    answer = [of_flask.get("/plain") for _ in range(10)][-1]
    assert (answer.status_code, answer.text) == (429, WORDS)
    assert (answer.headers["RateLimit"], answer.headers["Retry-After"]) == ('"site";r=0;t=60', "60")


def test_without_a_handler_nothing_is_told_twice() -> None:
    app = flask.Flask("none")
    ratelimit_kit.flask.RateLimit(app, policy())
    app.add_url_rule("/", view_func=ratelimit_kit.flask.ratelimit("1/minute", name="login")(lambda: ""))
    answer = [app.test_client().get("/") for _ in range(2)][-1]
    assert answer.headers.getlist("RateLimit") == ['"login";r=0;t=60, "site";r=7;t=47']
    assert answer.headers.getlist("Retry-After") == ["60"]


DEPENDENCY, DECORATOR = "/dependency", "/decorator"


@pytest.fixture(params=[429, RateLimited, HTTPException, None], ids=str)
def of_fastapi(request: pytest.FixtureRequest) -> TestClient:
    app = fastapi.FastAPI()
    ratelimit_kit.fastapi.install(app, policy())
    if request.param is not None:

        @app.exception_handler(request.param)
        async def answer(_request: fastapi.Request, _error: Exception) -> PlainTextResponse:
            return PlainTextResponse(WORDS, 429)

    limit = ratelimit_kit.fastapi.RateLimit("1/minute", name="login")

    @app.get(DEPENDENCY, dependencies=[fastapi.Depends(limit)])
    async def depends() -> None: ...

    @app.get(DECORATOR)
    @ratelimit_kit.fastapi.ratelimit("1/minute", name="login")
    async def decorated() -> None: ...

    return TestClient(app)


@pytest.mark.parametrize("page", [DEPENDENCY, DECORATOR])
def test_fastapi(of_fastapi: TestClient, page: str) -> None:
    of_fastapi.get(page)
    answer = of_fastapi.get(page, headers={"Origin": "https://example.org"})
    assert answer.status_code == 429
    assert answer.headers["RateLimit"] == '"login";r=0;t=60, "site";r=7;t=47'
    assert answer.headers["RateLimit-Policy"] == '"login";q=1;w=60, "site";q=9;w=60'
    assert answer.headers.get_list("Retry-After") == ["60"]
    assert "RateLimit" in answer.headers["Access-Control-Expose-Headers"]


class Once(RateLimitThrottle):
    limits = ("1/minute",)
    scope = "once"
    key = "ip"


class Page(APIView):
    authentication_classes: Any = ()
    permission_classes: Any = ()
    throttle_classes: Any = (Once,)

    def get(self, _request: Any) -> Response:
        return Response()

    def get_exception_handler(self) -> Any:
        return lambda _error, _context: Response(WORDS, 429)


def test_django_rest_framework() -> None:
    setting = {"rules": [], "store": MemoryStore(clock=ManualClock())}
    with override_settings(RATELIMIT_KIT=setting, REST_FRAMEWORK={"UNAUTHENTICATED_USER": None}):
        site_policy.cache_clear()
        view = Page.as_view()
        answer = [view(APIRequestFactory().get("/")) for _ in range(2)][-1]
    assert (answer.status_code, answer.data) == (429, WORDS)
    assert (answer["RateLimit"], answer["Retry-After"]) == ('"throttle.once";r=0;t=60', "60")


ABOUT_LIMITS = ("RateLimit", "RateLimit-Policy", "Access-Control-Expose-Headers")


@pytest.mark.parametrize(("status", "more"), [(302, {"Location": "/"}), (429, {"Cache-Control": "public, max-age=60"})])
def test_what_others_may_see_tells_nothing_of_a_clients_limits(status: int, more: dict[str, str]) -> None:
    app = flask.Flask("handlers")
    ratelimit_kit.flask.RateLimit(app, policy())
    app.register_error_handler(429, lambda _error: (WORDS, status, more))
    app.add_url_rule("/", view_func=ratelimit_kit.flask.ratelimit("1/minute", name="login")(lambda: ""))
    of_fastapi = fastapi.FastAPI()
    ratelimit_kit.fastapi.install(of_fastapi, policy())
    of_fastapi.add_exception_handler(429, lambda *_: PlainTextResponse(WORDS, status, more))
    of_fastapi.add_api_route("/", ratelimit_kit.fastapi.ratelimit("1/minute", name="login")(lambda: ""))
    starlette = TestClient(of_fastapi, follow_redirects=False)
    for client in (app.test_client(), starlette):
        client.get("/")
        answer = client.get("/", headers={"Origin": "https://example.org"})
        assert answer.status_code == status
        assert not {name.lower() for name in ABOUT_LIMITS} & {name.lower() for name in answer.headers.keys()}  # noqa: SIM118 - two kinds of mappings


def test_an_item_of_the_handlers_own_stands_beside_that_of_the_refusal() -> None:
    app = flask.Flask("handlers")
    ratelimit_kit.flask.RateLimit(app, policy())
    app.register_error_handler(429, lambda _error: (WORDS, 429, {"RateLimit": '"mine";r=1;t=1'}))
    app.add_url_rule("/", view_func=ratelimit_kit.flask.ratelimit("1/minute", name="login")(lambda: ""))
    client = app.test_client()
    client.get("/")
    found = ", ".join(client.get("/").headers.getlist("RateLimit"))
    assert '"mine";r=1' in found
    assert '"login";r=0' in found
