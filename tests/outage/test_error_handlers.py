"""`on_outage="raise"` in a policy: which limits a framework's own handler of StoreError is called for."""

from __future__ import annotations

import fastapi
import flask
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient

import ratelimit_kit.fastapi
import ratelimit_kit.flask
from ratelimit_kit import Policy, Rule, StoreError
from tests.outage.flaky import DOWN, Flaky

HANDLED = 418


def policy(store: Flaky) -> Policy:
    store.error = DOWN
    rule = Rule("5/minute", key="ip", name="site", paths=["/site"])
    return Policy(rule, store=store, on_outage="raise", start_without_store=True)


def test_fastapi_handles_errors_of_dependencies_and_decorators_but_not_of_the_middleware(store: Flaky) -> None:
    app = fastapi.FastAPI()
    limits = policy(store)
    ratelimit_kit.fastapi.install(app, limits)

    @app.exception_handler(StoreError)
    async def answer(_request: fastapi.Request, _error: Exception) -> PlainTextResponse:
        return PlainTextResponse("", HANDLED)

    @app.get("/site")
    async def site() -> None: ...

    @app.get("/depends", dependencies=[fastapi.Depends(ratelimit_kit.fastapi.RateLimit("5/minute", name="depends"))])
    async def depends() -> None: ...

    @app.get("/decorated")
    @ratelimit_kit.fastapi.ratelimit("5/minute", name="decorated")
    async def decorated() -> None: ...

    client = TestClient(app, raise_server_exceptions=False)
    assert [client.get(page).status_code for page in ("/site", "/depends", "/decorated")] == [500, HANDLED, HANDLED]


def test_flask_handles_all_errors(store: Flaky) -> None:
    app = flask.Flask(__name__)
    ratelimit_kit.flask.RateLimit(app, policy(store))
    app.register_error_handler(StoreError, lambda _error: ("", HANDLED))
    app.add_url_rule("/site", "site", lambda: "")
    app.add_url_rule("/decorated", "decorated", ratelimit_kit.flask.ratelimit("5/minute", name="decorated")(lambda: ""))
    assert [app.test_client().get(page).status_code for page in ("/site", "/decorated")] == [HANDLED, HANDLED]
