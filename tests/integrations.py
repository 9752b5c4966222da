"""Every integration as a site with one view, asked by raw environs and scopes: test clients would tidy up what is sent."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import fastapi
import flask
import pytest
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpResponse
from django.test.utils import override_settings

import ratelimit_kit.django
import ratelimit_kit.fastapi
import ratelimit_kit.flask
from django.urls import path as django_path
from ratelimit_kit import MemoryStore, Policy, Rule
from ratelimit_kit.asgi import RateLimitMiddleware as Asgi
from ratelimit_kit.testing import ManualClock
from ratelimit_kit.wsgi import RateLimitMiddleware as Wsgi
from tests.django import conftest  # noqa: F401 - configures Django

Fields = Sequence[tuple[str, str]]
METHODS = ["GET", "HEAD", "POST", "OPTIONS"]


class Answered(NamedTuple):
    """What came back."""

    status: int
    fields: dict[str, str]
    body: bytes


class Ran(list[str]):
    """The methods with which a view was called; `during` happens in each call."""

    during: Callable[[], None] = staticmethod(lambda: None)

    def append(self, method: str) -> None:
        super().append(method)
        self.during()


class Site:
    """A site; `ran` lists the methods with which its view was called."""

    def __init__(self, application: Any, *, asgi: bool, ran: Ran) -> None:
        self.application = application
        self.asgi = asgi
        self.ran = ran

    def ask(
        self, path: str = "/login", method: str = "GET", fields: Fields = (), address: str = "203.0.113.9", **more: Any
    ) -> Answered:
        """One request, as a server hands it over; `more` goes into the environ or the scope."""
        if self.asgi:
            return asyncio.run(ask_asgi(self.application, path, method, fields, address, **more))
        return ask_wsgi(self.application, path, method, fields, address, **more)

    def statuses(self, number: int, *arguments: Any, **options: Any) -> list[int]:
        return [self.ask(*arguments, **options).status for _ in range(number)]


def ask_wsgi(app: Any, path: str, method: str, fields: Fields, address: str, **more: Any) -> Answered:
    environ: dict[str, Any] = {
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": "",
        "PATH_INFO": path.encode().decode("latin-1"),
        "QUERY_STRING": "",
        "REMOTE_ADDR": address,
        "SERVER_NAME": "testserver",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": "testserver",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": io.StringIO(),
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    for name, value in fields:  # as gunicorn joins what is sent twice
        variable = "HTTP_" + name.upper().replace("-", "_")
        environ[variable] = f"{environ[variable]},{value}" if variable in environ else value
    environ |= more
    begun: list[tuple[int, dict[str, str]]] = []
    body = app(
        environ,
        lambda status, headers, exc_info=None: begun.append((int(status[:3]), lower(headers))) or (lambda _: None),
    )
    try:
        data = b"".join(body)
    finally:
        if hasattr(body, "close"):
            body.close()
    return Answered(*begun[-1], data)


async def ask_asgi(app: Any, path: str, method: str, fields: Fields, address: str, **more: Any) -> Answered:
    sent: list[Any] = []
    asked = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> Any:
        return asked.pop() if asked else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"testserver"), *((n.lower().encode(), v.encode("latin-1")) for n, v in fields)],
        "client": (address, 4711),
        "server": ("testserver", 80),
        "state": {},
        **more,
    }
    await app(scope, receive, send)
    headers = [(name.decode(), value.decode("latin-1")) for name, value in sent[0]["headers"]]
    return Answered(sent[0]["status"], lower(headers), b"".join(one.get("body", b"") for one in sent[1:]))


def lower(headers: Iterable[tuple[str, str]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in headers:
        found[name.lower()] = f"{found[name.lower()]}, {value}" if name.lower() in found else value
    return found


@contextmanager
def wsgi(policy: Policy, ran: list[str], _: Any) -> Iterator[Any]:
    def application(environ: Any, start_response: Any) -> list[bytes]:
        ran.append(environ["REQUEST_METHOD"])
        start_response("200 OK", [])
        return [b"in"]

    yield Wsgi(application, policy)


@contextmanager
def asgi(policy: Policy, ran: list[str], _: Any) -> Iterator[Any]:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        ran.append(scope["method"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"in"})

    yield Asgi(application, policy)


@contextmanager
def of_flask(policy: Policy, ran: list[str], decorate: Any) -> Iterator[Any]:
    app = flask.Flask("doors")
    app.config["PROPAGATE_EXCEPTIONS"] = True
    ratelimit_kit.flask.RateLimit(app, policy)

    def login() -> str:
        ran.append(flask.request.method)
        return "in"

    app.add_url_rule("/login", view_func=decorate(login), methods=METHODS, provide_automatic_options=False)
    yield app


@contextmanager
def of_django(policy: Policy, ran: list[str], decorate: Any) -> Iterator[Any]:
    def login(request: Any) -> HttpResponse:
        ran.append(request.method)
        return HttpResponse("in")

    urls = type("Urls", (), {"urlpatterns": [django_path("login", decorate(login))]})
    with pytest.MonkeyPatch.context() as patch, override_settings(ROOT_URLCONF=urls, DEBUG_PROPAGATE_EXCEPTIONS=True):
        for module in ("middleware", "decorator", "site"):
            patch.setattr(f"ratelimit_kit.django.{module}.site_policy", lambda: policy)
        yield WSGIHandler()


@contextmanager
def of_fastapi(policy: Policy, ran: list[str], decorate: Any) -> Iterator[Any]:
    app = fastapi.FastAPI()
    ratelimit_kit.fastapi.install(app, policy)

    async def login(request: fastapi.Request) -> str:
        ran.append(request.method)
        return "in"

    app.add_api_route("/login", decorate(login), methods=METHODS)
    yield app


MAKERS: dict[str, tuple[Callable[..., Any], bool]] = {
    "wsgi": (wsgi, False),
    "asgi": (asgi, True),
    "flask": (of_flask, False),
    "django": (of_django, False),
    "fastapi": (of_fastapi, True),
}

DECORATORS = {
    "flask": ratelimit_kit.flask.ratelimit,
    "django": ratelimit_kit.django.ratelimit,
    "fastapi": ratelimit_kit.fastapi.ratelimit,
}


@contextmanager
def site(name: str, *rules: Rule, decorate: Any = lambda view: view, **options: Any) -> Iterator[Site]:
    """A site of that integration, under a policy of these rules; `decorate` is for its view."""
    make, is_asgi = MAKERS[name]
    ran = Ran()
    policy = Policy(*rules, **{"store": MemoryStore(clock=ManualClock()), **options})
    if name in {"wsgi", "asgi", "django"} and not rules:
        policy = Policy(Rule("1000/minute", name="other"), **{"store": MemoryStore(clock=ManualClock()), **options})
    with make(policy, ran, decorate) as application:
        yield Site(application, asgi=is_asgi, ran=ran)


@contextmanager
def limited(way: str, limit: str, policy: Mapping[str, Any] = {}, **options: Any) -> Iterator[Site]:
    """A site whose view has a limit: by a rule of the policy ("flask"), or by a decorator ("flask decorator").

    `policy` are options of the policy, the others are the rule's.
    """
    name, _, decorator = way.partition(" ")
    if decorator:
        with site(name, decorate=DECORATORS[name](limit, **options), **policy) as found:
            yield found
    else:
        with site(name, Rule(limit, **options), **policy) as found:
            yield found


WAYS = [*MAKERS, *(f"{name} decorator" for name in DECORATORS)]
"""Every way to put a limit on a view."""
