"""An application for each test, as `create_app()` makes it, goes away with its policy; what is remembered is bounded."""

from __future__ import annotations

import gc
import logging
import weakref
from collections.abc import Callable
from typing import Any

import flask
import pytest
from fastapi import Depends, FastAPI
from fastapi.testclient import TestClient
from prometheus_client import CollectorRegistry

from ratelimit_kit import Charge, FixedWindow, Limiter, MemoryStore, Policy, RedisStore, Rule, limiter, wsgi
from ratelimit_kit.asgi import RateLimitMiddleware
from ratelimit_kit.core.events import Event
from ratelimit_kit.fastapi import RateLimit, install
from ratelimit_kit.fastapi import ratelimit as limit_endpoint
from ratelimit_kit.flask import RateLimit as Extension
from ratelimit_kit.flask import ratelimit as limit_view
from ratelimit_kit.observe import Observers, _faulty, log
from ratelimit_kit.observe.prometheus import PrometheusObserver
from tests.test_asgi import hello as hello_async
from tests.test_wsgi import call, hello

APPLICATIONS = 30


def on_flask(policy: Policy) -> Any:
    app = flask.Flask(__name__)
    Extension(app, policy)
    kept = app.config["policy"] = policy

    @app.get("/")
    @limit_view("9/minute", key=lambda _: kept.mode)
    def page() -> str:
        return "page"

    @app.get("/async")
    @limit_view("9/minute", key=lambda _: kept.mode)
    async def other() -> str:
        return "page"

    assert [app.test_client().get(path).status_code for path in ("/", "/async")] == [200, 200]
    return app


def on_flask_in_views(policy: Policy) -> Any:
    """Views that are decorated in each request."""
    app = flask.Flask(__name__)
    Extension(app, policy)

    @app.get("/")
    def page() -> str:
        return limit_view("9/minute", key="ip")(lambda: "page")()

    assert app.test_client().get("/").status_code == 200
    return app


def on_fastapi(policy: Policy) -> Any:
    """FastAPI itself keeps the last 4,096 endpoints, so nothing in them may refer to the application."""
    app = FastAPI()
    install(app, policy)

    @app.get("/", dependencies=[Depends(RateLimit("9/minute", key="ip"))])
    async def page() -> str:
        return "page"

    @app.get("/decorated")
    @limit_endpoint("9/minute", key="ip")
    def other() -> str:
        return "page"

    client = TestClient(app)
    assert [client.get(path).status_code for path in ("/", "/decorated")] == [200, 200]
    return app


def on_asgi(policy: Policy) -> Any:
    app = RateLimitMiddleware(hello_async, policy)
    assert TestClient(app).get("/").status_code == 200
    return app


def on_wsgi(policy: Policy) -> Any:
    app = wsgi.RateLimitMiddleware(hello, policy)
    call(app)
    return app


@pytest.mark.parametrize("make", [on_flask, on_flask_in_views, on_fastapi, on_asgi, on_wsgi])
def test_applications_and_their_policies_go_away(make: Callable[[Policy], Any]) -> None:
    def one() -> tuple[weakref.ref[Any], weakref.ref[Any]]:
        observer = PrometheusObserver(CollectorRegistry())
        policy = Policy(Rule("9/minute", name="site"), store=MemoryStore(), observer=observer)
        return weakref.ref(policy), weakref.ref(make(policy))

    found = [reference for _ in range(APPLICATIONS) for reference in one()]
    gc.collect()
    assert [reference() for reference in found if reference() is not None] == []


def rules() -> int:
    gc.collect()
    return sum(type(one) is Rule for one in gc.get_objects())


def test_rules_that_a_request_makes_go_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """But for those of the requests whose charges are cached."""
    for module in ("charges", "combined"):
        monkeypatch.setattr(f"ratelimit_kit.web.rules.{module}.MAX_KNOWN", 5)
    client = on_flask_in_views(Policy(Rule("9999/minute", name="site"))).test_client()
    before = rules()
    for _ in range(APPLICATIONS):
        client.get("/")
    assert rules() - before <= 2 * 5


def test_the_first_limits_of_shared_counters_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limiter, "MAX_REMEMBERED", 10)
    monkeypatch.setattr(limiter, "_of_place", {})
    store = MemoryStore()
    for number in range(APPLICATIONS):
        Limiter(f"5/{number + 1} seconds", store=store)
        Limiter("5/minute", store=RedisStore(f"redis://127.0.0.1:1/{number}"))
    assert len(limiter._of_place) == 10
    assert len(limiter._of_object[store]) == 10


def test_the_kinds_of_logged_events_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "MAX_KINDS", 10)
    observer = log.LoggingObserver("ratelimit_kit.test")
    for number in range(APPLICATIONS):
        observer.on_event(Event("shadow-denied", "denied", 10, {"rule": f"rule-{number}"}))
    assert len(log._last) <= 10


def test_kinds_of_observers_that_failed_go_away(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, logger="ratelimit_kit")
    before = len(_faulty)
    for _ in range(APPLICATIONS):

        class Broken:
            def on_event(self, event: Event) -> None:
                raise ValueError(event)

        Observers([Broken()]).on_event(Event("outage", "", 10))
    del Broken
    gc.collect()
    assert len(_faulty) <= before + 1


def test_the_ends_of_windows_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ratelimit_kit.stores.redis.calls.arguments.MAX_WINDOWS", 10)
    arguments = RedisStore("redis://127.0.0.1:1/0")._arguments
    for number in range(1, 29):
        arguments.decide([Charge("key", FixedWindow(5, per="month", anchor=number), 1)])
    assert len(arguments._ends) <= 10
