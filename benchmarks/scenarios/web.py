"""What a middleware adds to a request, in this process, with a memory store and two rules."""

from __future__ import annotations

import io
import statistics
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from typing import Any

import flask
import slowapi
import slowapi.middleware
from django.conf import settings
from flask_limiter import Limiter as FlaskLimiter
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

import django
from benchmarks.harness import Contestant, Work, calls, floor, ours, peer, scenario, tasks
from benchmarks.place import Place
from ratelimit_kit import MemoryStore, Policy, Rule
from ratelimit_kit.asgi import RateLimitMiddleware as ASGIMiddleware
from ratelimit_kit.wsgi import RateLimitMiddleware as WSGIMiddleware

urlpatterns: list[Any] = []
RULES = ("1000000/second", "900000000/hour")
ENVIRON: dict[str, Any] = {
    "REQUEST_METHOD": "GET",
    "PATH_INFO": "/",
    "SCRIPT_NAME": "",
    "QUERY_STRING": "",
    "SERVER_NAME": "localhost",
    "SERVER_PORT": "80",
    "SERVER_PROTOCOL": "HTTP/1.1",
    "REMOTE_ADDR": "192.0.2.7",
    "HTTP_ACCEPT": "text/html",
    "wsgi.url_scheme": "http",
}
SCOPE: dict[str, Any] = {
    "type": "http",
    "asgi": {"version": "3.0", "spec_version": "2.4"},
    "http_version": "1.1",
    "method": "GET",
    "scheme": "http",
    "path": "/",
    "raw_path": b"/",
    "query_string": b"",
    "root_path": "",
    "headers": [(b"host", b"localhost"), (b"accept", b"text/html")],
    "client": ("192.0.2.7", 50_000),
    "server": ("127.0.0.1", 80),
}


def policy() -> Policy:
    """Two rules for each address."""
    return Policy(*(Rule(limit, name=f"rule-{number}") for number, limit in enumerate(RULES)), store=MemoryStore())


def beyond(work: Work, without: Work) -> Work:
    """What `work` takes beyond what the same takes `without`."""

    def difference(seconds: float) -> list[float]:
        base = statistics.median(without(seconds / 2))
        return [sample - base for sample in work(seconds / 2)]

    return difference


def nothing(_: float) -> list[float]:
    """The floor: the application by itself, from which all are counted."""
    return [0.0]


def application(_: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """The least that a WSGI application does."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]


def wsgi(application: Callable[..., Iterable[bytes]]) -> Work:
    """Requests to a WSGI application."""

    def request() -> bytes:
        answered = []
        body = application(ENVIRON.copy(), lambda status, *_: answered.append(status))
        text = b"".join(body)
        close = getattr(body, "close", None)
        if close:
            close()
        assert answered[0].startswith("200"), answered
        return text

    return calls(request, chunk=20)


def flask_application(*, limited: bool) -> flask.Flask:
    """A Flask application with one view, with Flask-Limiter or without."""
    app = flask.Flask("benchmark")
    if limited:
        FlaskLimiter(
            lambda: flask.request.remote_addr or "",
            app=app,
            default_limits=["1000000/second", "900000000/hour"],
            storage_uri="memory://",
        )
    app.add_url_rule("/", view_func=lambda: "hello")
    return app


@scenario("WSGI middleware", unit="us", note="time on top of the same application without it")
def web_wsgi(_: Place) -> list[Contestant]:
    """Two rules, memory store."""
    return [
        floor("the application by itself", nothing),
        ours("RateLimitMiddleware", beyond(wsgi(WSGIMiddleware(application, policy())), wsgi(application)), 15),
        peer("Flask-Limiter", beyond(wsgi(flask_application(limited=True)), wsgi(flask_application(limited=False)))),
    ]


async def asgi_application(_: Any, __: Any, send: Callable[..., Any]) -> None:
    """The least that an ASGI application does."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": b"hello"})


def asgi(stack: ExitStack, application: Callable[..., Any]) -> Work:
    """Requests to an ASGI application, one at a time."""

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def request(_: int) -> int:
        statuses = []

        async def send(message: dict[str, Any]) -> None:
            statuses.append(message.get("status"))

        await application({**SCOPE, "headers": list(SCOPE["headers"]), "state": {}}, receive, send)
        assert statuses[0] == 200, statuses
        return 200

    return tasks(stack, 1, request)


async def hello(_: Any) -> PlainTextResponse:
    """The view."""
    return PlainTextResponse("hello")


def starlette(*, limited: bool) -> Starlette:
    """A Starlette application with one view, with slowapi's ASGI middleware or without."""
    app = Starlette(routes=[Route("/", hello)])
    if limited:
        limits = ["1000000/second", "900000000/hour"]
        app.state.limiter = slowapi.Limiter(lambda request: request.client.host, default_limits=limits)  # type: ignore[list-item, arg-type]
        app.add_middleware(slowapi.middleware.SlowAPIASGIMiddleware)
    return app


@scenario("ASGI middleware", unit="us", note="time on top of the same application without it")
def web_asgi(place: Place) -> list[Contestant]:
    """Two rules, memory store."""
    bare = asgi(place.stack, asgi_application)
    limited = asgi(place.stack, ASGIMiddleware(asgi_application, policy()))
    theirs = asgi(place.stack, starlette(limited=True)), asgi(place.stack, starlette(limited=False))
    return [
        floor("the application by itself", nothing),
        ours("RateLimitMiddleware", beyond(limited, bare), 15),
        peer("slowapi, ASGI middleware", beyond(*theirs)),
    ]


@scenario("Django middleware", unit="us", note="time on top of the same view without it")
def web_django(_: Place) -> list[Contestant]:
    """Two rules, memory store."""
    if not settings.configured:
        settings.configure(
            SECRET_KEY="benchmark",
            ALLOWED_HOSTS=["*"],
            ROOT_URLCONF="benchmarks.scenarios.web",
            CACHES={"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}},
            INSTALLED_APPS=["ratelimit_kit"],
            RATELIMIT_KIT={
                "store": MemoryStore(),
                "workers": 1,
                "rules": [{"limits": limit, "name": f"rule-{number}"} for number, limit in enumerate(RULES)],
            },
        )
        django.setup()
    from django.core.handlers.wsgi import WSGIRequest
    from django.http import HttpResponse
    from django_ratelimit.decorators import ratelimit

    from ratelimit_kit.django import RateLimitMiddleware

    def view(_: Any) -> HttpResponse:
        return HttpResponse("hello")

    def requests(view: Callable[..., Any]) -> Work:
        def request() -> bool:
            return view(WSGIRequest({**ENVIRON, "wsgi.input": io.BytesIO()})).status_code == 200

        return calls(request, chunk=20)

    theirs = ratelimit(key="ip", rate="1000000/s")(ratelimit(key="ip", rate="900000000/h")(view))
    return [
        floor("the view by itself", nothing),
        ours("RateLimitMiddleware", beyond(requests(RateLimitMiddleware(view)), requests(view)), 25),
        peer("django-ratelimit, two decorators, LocMemCache", beyond(requests(theirs), requests(view))),
    ]
