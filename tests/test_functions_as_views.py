"""`from ratelimit_kit import ratelimit` on a view: 429 where an integration is installed, else an error with the right import."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import flask
import pytest
from fastapi import FastAPI
from fastapi.responses import PlainTextResponse
from starlette.applications import Starlette
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket, WebSocketDisconnect

from ratelimit_kit import LimitExceeded, Policy, Reply, Rule, ratelimit
from ratelimit_kit.asgi import RateLimitMiddleware as ASGIMiddleware
from ratelimit_kit.fastapi import install
from ratelimit_kit.flask import RateLimit
from ratelimit_kit.wsgi import RateLimitMiddleware
from tests.outage.flaky import DOWN, Flaky
from tests.test_wsgi import call

Limit = Callable[[Any], Any]


def limited(**options: Any) -> Limit:
    """The decorator of functions, as somebody writes it on a view."""
    return ratelimit("1/minute", **options)


@limited(name="service")
def service() -> str:
    return "fine"


@limited(name="aservice")
async def aservice() -> str:
    return "fine"


def flask_site(**options: Any) -> flask.Flask:
    app = flask.Flask("site")
    RateLimit(app, Policy(Rule("9/minute", name="site"), **options))

    @app.get("/view")
    @limited()
    def view() -> str:
        return "fine"

    @app.get("/aview")
    @limited()
    async def aview() -> str:
        return "fine"

    @app.get("/deep")
    def deep() -> str:
        return service()

    return app


@pytest.mark.usefixtures("ratelimits_reset")
@pytest.mark.parametrize("path", ["/view", "/aview", "/deep"])
def test_flask_answers_as_to_every_refusal(path: str) -> None:
    client = flask_site().test_client()
    assert client.get(path).status_code == 200
    refused = client.get(path)
    assert refused.status_code == 429
    assert refused.content_type == "application/problem+json"
    assert 1 <= int(refused.headers["Retry-After"]) <= 60
    assert refused.headers["RateLimit"].startswith('"site";r=7')
    assert b"test_functions" not in refused.data


def test_an_error_page_of_a_flask_application_is_used_and_its_own_handler_is_kept() -> None:
    app = flask_site()
    app.register_error_handler(429, lambda error: ("slow down", 429))
    client = app.test_client()
    assert [client.get("/view").data for _ in range(2)] == [b"fine", b"slow down"]
    app = flask.Flask("own")
    app.register_error_handler(LimitExceeded, lambda error: ("mine", 418))
    RateLimit(app, Policy(Rule("9/minute")))
    app.get("/")(limited()(lambda: "fine"))
    client = app.test_client()
    assert [client.get("/").status_code for _ in range(2)] == [200, 418]


def fastapi_site() -> FastAPI:
    app = FastAPI()
    install(app, Policy(Rule("9/minute", name="site")))
    app.get("/view")(limited()(view))
    app.get("/aview")(limited()(aview))
    return app


def view() -> str:
    return "fine"


async def aview() -> str:
    return "fine"


def starlette_site() -> Any:
    def view(_request: Any) -> PlainTextResponse:
        return PlainTextResponse("fine")

    async def aview(_request: Any) -> PlainTextResponse:
        return PlainTextResponse("fine")

    app = Starlette(routes=[Route("/view", limited()(view)), Route("/aview", limited()(aview))])
    install(app, Policy(Rule("9/minute", name="site")))
    return app


def bare_asgi() -> Any:
    @limited()
    async def application(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"fine"})

    return ASGIMiddleware(application, Policy(Rule("9/minute", name="site")))


def litestar_site() -> Any:
    from litestar import Litestar, get

    handlers = [
        get("/view", sync_to_thread=False)(limited()(view)),
        get("/aview")(limited()(aview)),
    ]
    return ASGIMiddleware(Litestar(handlers), Policy(Rule("9/minute", name="site")))


def quart_site() -> Any:
    from quart import Quart

    app = Quart("site")
    app.get("/view")(limited()(view))
    app.get("/aview")(limited()(aview))
    return ASGIMiddleware(app, Policy(Rule("9/minute", name="site")))


def middleware_around_fastapi() -> Any:
    app = FastAPI()
    app.get("/view")(limited()(view))
    app.get("/aview")(limited()(aview))
    return ASGIMiddleware(app, Policy(Rule("9/minute", name="site")))


@pytest.mark.parametrize("path", ["/view", "/aview"])
@pytest.mark.parametrize(
    "make", [fastapi_site, starlette_site, bare_asgi, litestar_site, quart_site, middleware_around_fastapi]
)
def test_asgi_applications_answer_as_to_every_refusal(make: Callable[[], Any], path: str) -> None:
    client = TestClient(make())
    assert client.get(path).status_code == 200
    refused = client.get(path)
    assert refused.status_code == 429
    assert refused.headers["content-type"] == "application/problem+json"
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert refused.headers["ratelimit"].startswith('"site";r=7')


def test_a_websocket_is_closed() -> None:
    @limited()
    async def chat(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.close()

    @limited()
    async def told() -> None: ...

    async def midway(websocket: WebSocket) -> None:
        await websocket.accept()
        await told()
        await websocket.send_text("told")
        await told()

    app = Starlette(routes=[WebSocketRoute("/", chat), WebSocketRoute("/midway", midway)])
    install(app, Policy(Rule("9/minute")))
    client = TestClient(app)
    with client.websocket_connect("/"):
        pass
    with pytest.raises(WebSocketDisconnect) as refused, client.websocket_connect("/"):
        pass
    assert refused.value.code == 1013
    with client.websocket_connect("/midway") as websocket:
        assert websocket.receive_text() == "told"
        with pytest.raises(WebSocketDisconnect) as refused:
            websocket.receive_text()
    assert refused.value.code == 1013


def test_a_response_that_has_begun_is_broken_off() -> None:
    @limited()
    async def part() -> bytes:
        return b"part"

    async def application(_scope: Any, _receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(2):
            await send({"type": "http.response.body", "body": await part(), "more_body": True})

    with pytest.raises(LimitExceeded):
        TestClient(ASGIMiddleware(application, Policy(Rule("9/minute")))).get("/")


@pytest.mark.parametrize("rules", [[Rule("9/minute", name="site")], [Rule("9/minute", methods=["POST"], name="site")]])
def test_a_wsgi_application_answers_as_to_every_refusal(rules: list[Rule]) -> None:
    @limited()
    def application(_environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return [b"fine"]

    site = RateLimitMiddleware(application, Policy(*rules))
    assert call(site)[0] == "200 OK"
    status, headers, body = call(site)
    assert status == "429 Too Many Requests"
    assert dict(headers)["Content-Type"] == "application/problem+json"
    assert "Retry-After" in dict(headers)
    assert b"quota-exceeded" in body[0]


def test_the_500_of_a_framework_within_the_middleware_is_replaced() -> None:
    app = flask.Flask("within")
    app.get("/view")(limited()(view))
    app.get("/aview")(limited()(aview))

    @app.get("/broken")
    def broken() -> str:
        raise KeyError

    app.wsgi_app = RateLimitMiddleware(app.wsgi_app, Policy(Rule("9/minute", name="site")))  # type: ignore[method-assign]
    client = app.test_client()
    for path in ("/view", "/aview"):
        assert client.get(path).data == b"fine"
        refused = client.get(path)
        assert refused.status_code == 429
        assert refused.content_type == "application/problem+json"
        assert int(refused.headers["Content-Length"]) == len(refused.data)
        assert len(refused.headers.getlist("Retry-After")) == len(refused.headers.getlist("RateLimit")) == 1
    assert client.get("/broken").status_code == 500


def test_a_refusal_that_the_application_handles_is_its_own_affair() -> None:
    app = flask.Flask("within")

    @app.get("/")
    def handles() -> str:
        try:
            return service()
        except LimitExceeded:
            return "later"

    app.wsgi_app = RateLimitMiddleware(app.wsgi_app, Policy(Rule("9/minute")))  # type: ignore[method-assign]
    client = app.test_client()
    assert [client.get("/").status_code for _ in range(3)] == [200, 200, 200]


def test_what_does_not_count_is_given_back() -> None:
    """A refusal by a function is a failure as any other."""

    @limited()
    def application(_environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [])
        return [b"fine"]

    site = RateLimitMiddleware(application, Policy(Rule("2/minute", count="successes", key="ip")))
    assert [call(site)[0][:3] for _ in range(4)] == ["200", "429", "429", "429"]


def test_a_policys_own_denial_is_used_and_an_outage_is_503() -> None:
    store = Flaky()
    store.error = DOWN

    @limited(store=store, on_outage="deny")
    def application(_environ: Any, _start_response: Any) -> list[bytes]:
        raise AssertionError

    policy = Policy(Rule("9/minute"), denial=lambda denial: Reply(f"{denial.status} after {denial.wait}"))
    status, _, body = call(RateLimitMiddleware(application, policy))
    assert (status[:3], body) == ("503", [b"503 after 1"])


@pytest.mark.parametrize("kind", ["plain", "asynchronous"])
def test_without_an_integration_flask_says_what_to_import(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    app = flask.Flask("bare")
    app.get("/")(limited()(view if kind == "plain" else aview))
    client = app.test_client()
    with caplog.at_level(logging.ERROR):
        assert [client.get("/").status_code for _ in range(2)] == [200, 500]
    assert (
        "For a view, which should answer 429, write: from ratelimit_kit.flask import ratelimit [RLK429]" in caplog.text
    )


@pytest.mark.parametrize("view", [view, aview])
def test_without_an_integration_fastapi_says_what_to_import(view: Any) -> None:
    app = FastAPI()
    app.get("/")(limited()(view))
    client = TestClient(app)
    client.get("/")
    with pytest.raises(LimitExceeded, match=r"write: from ratelimit_kit\.fastapi import ratelimit \[RLK429\]$"):
        client.get("/")


@pytest.mark.usefixtures("ratelimits_reset")
def test_a_function_that_no_framework_calls_has_no_such_advice() -> None:
    service()
    with pytest.raises(LimitExceeded, match=r"try again in [\d.]+ s \[RLK429\]$"):
        service()
    asyncio.run(aservice())
    with pytest.raises(LimitExceeded, match=r"try again in [\d.]+ s \[RLK429\]$"):
        asyncio.run(aservice())


class BrokenError(Exception):
    """An error of the application's own."""


def handles_a_refusal() -> None:
    for _ in range(3):
        try:
            service()
        except LimitExceeded:
            continue
    raise BrokenError


@pytest.mark.usefixtures("ratelimits_reset")
def test_a_500_of_the_applications_own_stays_one_although_a_refusal_was_handled_before() -> None:
    policy = Policy(Rule("99/minute", name="site"))
    flask_app = flask.Flask("site")
    flask_app.add_url_rule("/", view_func=lambda: handles_a_refusal() or "")
    assert call(RateLimitMiddleware(flask_app, policy))[0].startswith("500")

    async def broken(_request: Any) -> PlainTextResponse:
        try:
            handles_a_refusal()
        except BrokenError:
            return PlainTextResponse("broken", 500)
        return PlainTextResponse("fine")

    site = ASGIMiddleware(Starlette(routes=[Route("/", broken)]), policy)
    assert TestClient(site, raise_server_exceptions=False).get("/").status_code == 500


@pytest.mark.usefixtures("ratelimits_reset")
def test_tasks_of_a_group_that_are_refused_are_answered_429() -> None:
    app = FastAPI()
    install(app, Policy(Rule("99/minute", name="site")))

    @app.get("/group")
    async def group() -> str:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(3):
                tasks.create_task(aservice())
        return "fine"

    @app.get("/mixed")
    async def mixed() -> str:
        async def fail() -> None:
            raise BrokenError

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(aservice())
            tasks.create_task(fail())
        return "fine"

    client = TestClient(app, raise_server_exceptions=False)
    assert client.get("/group").status_code == 429
    assert client.get("/mixed").status_code == 500
