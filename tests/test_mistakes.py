"""Mistakes and unusual usage: each is reported clearly, or simply works."""

from __future__ import annotations

from typing import Annotated, Any

import pytest
from fastapi import FastAPI
from fastapi import Request as FastAPIRequest
from flask import Flask, request
from starlette.testclient import TestClient
from werkzeug.test import Client

from ratelimit_kit import Limiter, Policy, Rule
from ratelimit_kit.asgi import RateLimitMiddleware
from ratelimit_kit.cli import main
from ratelimit_kit.errors import OptionError, StoreURLError
from ratelimit_kit.fastapi import install
from ratelimit_kit.fastapi import ratelimit as limit_endpoint
from ratelimit_kit.flask import RateLimit
from ratelimit_kit.flask import ratelimit as limit_view
from ratelimit_kit.stores import open_store


def policy(*rules: Rule, **options: Any) -> Policy:
    return Policy(*rules, store="memory://", **options)


def fastapi_app() -> FastAPI:
    app = FastAPI()
    install(app, policy())
    return app


def statuses(app: FastAPI, path: str, times: int) -> list[int]:
    with TestClient(app, raise_server_exceptions=False) as client:
        return [client.get(path).status_code for _ in range(times)]


@pytest.mark.parametrize(
    ("broken", "hint"),
    [(policy, "without rules"), (lambda: policy(Rule("5/minute"), workers=4), r"RLK201")],
    ids=["no rules", "several workers"],
)
def test_an_asgi_application_that_must_not_start_fails_its_tests_instead_of_hanging(broken: Any, hint: str) -> None:
    app = FastAPI()
    app.add_middleware(RateLimitMiddleware, policy=broken())
    with pytest.raises(RuntimeError, match=hint), TestClient(app):
        pass


def test_an_endpoint_may_have_two_decorators() -> None:
    app = fastapi_app()

    @app.get("/")
    @limit_endpoint("5/minute", key="ip", name="outer")
    @limit_endpoint("2/minute", key="ip", name="inner")
    async def home(days: int = 1) -> int:
        return days

    assert statuses(app, "/?days=3", 4) == [200, 200, 429, 429]
    assert [one["name"] for one in app.openapi()["paths"]["/"]["get"]["parameters"]] == ["days"]


def test_an_annotated_request_is_seen() -> None:
    app = fastapi_app()

    @app.get("/")
    @limit_endpoint("1/minute", key="ip")
    async def home(asked: Annotated[FastAPIRequest, "by whom"]) -> str:
        return asked.url.path

    assert statuses(app, "/", 2) == [200, 429]


def test_flask_gives_back_where_an_error_is_passed_on_to_a_debugger() -> None:
    app = Flask("shop")
    app.testing = True  # as in debug mode: errors propagate
    RateLimit(app, policy())

    @app.get("/")
    @limit_view("2/minute", key="ip", count="successes")
    def home() -> str:
        if "fail" in request.args:
            raise ValueError("the view's own")
        return "Hello!"

    client = app.test_client()
    for _ in range(3):
        with pytest.raises(ValueError, match="own"):
            client.get("/?fail=1")
    assert [client.get("/").status_code for _ in range(3)] == [200, 200, 429]


def test_flask_tells_an_application_that_is_given_the_same_environ_later_nothing_of_this_one() -> None:
    """As with dispatchers that try one application after another."""
    first, second = Flask("first"), Flask("second")
    for app in (first, second):
        RateLimit(
            app, Policy(Rule("3/minute", key="ip", count="failures", name=app.name), store="memory://", name=app.name)
        )
    second.add_url_rule("/", view_func=lambda: "Hello!")

    def cascade(environ: Any, start_response: Any) -> Any:
        answers: list[Any] = []
        body = first(environ, lambda *answer: answers.append(answer))
        if answers[0][0].startswith("404"):
            return second(environ, start_response)
        start_response(*answers[0])
        return body

    got = Client(cascade).get("/")
    assert (got.status_code, got.headers["RateLimit"]) == (200, '"second";r=3;t=60')


def test_a_view_that_is_decorated_without_parentheses_is_told_so() -> None:
    from ratelimit_kit.django import ratelimit

    with pytest.raises(OptionError, match="parentheses"):
        ratelimit(lambda _: "5/minute")(object())


def test_a_number_of_thousands_of_digits_is_refused_like_any_other_wrong_one(monkeypatch: pytest.MonkeyPatch) -> None:
    long = "9" * 5000
    with pytest.raises(StoreURLError, match="not a database number"):
        open_store(f"redis://127.0.0.1:1/{long}")
    for command in (["demo", "--port", long], ["verify", "http://127.0.0.1:1/", "--limit", long]):
        with pytest.raises(SystemExit) as ended:
            main(command)
        assert ended.value.code == 2
    monkeypatch.setenv("RATELIMIT_KIT_WORKERS", long)
    with pytest.raises(OptionError, match="RATELIMIT_KIT_WORKERS"):
        Limiter("5/minute", store="memory://")
