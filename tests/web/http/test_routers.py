"""Routers with their default settings: the rule for /login limits every spelling that they accept for it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator
from typing import Any

import bottle
import falcon
import falcon.asgi
import fastapi
import flask
import litestar
import pytest
import quart
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpResponse
from django.test.utils import override_settings
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from django.urls import path, re_path
from ratelimit_kit import MemoryStore, Policy, Rule
from ratelimit_kit.asgi import RateLimitMiddleware as Asgi
from ratelimit_kit.wsgi import RateLimitMiddleware as Wsgi
from tests.integrations import ask_asgi, ask_wsgi
from tests.web.rules.test_paths import OTHERS, SPELLINGS

LIMIT = 2
Ran = list[str]


def of_flask(ran: Ran) -> Any:
    app = flask.Flask("routers")
    app.post("/login")(lambda: ran.append("") or "in")
    return app


def of_django(ran: Ran) -> Any:
    def login(request: Any) -> HttpResponse:
        ran.append("")
        return HttpResponse("in")

    urls = type(
        "Urls", (), {"urlpatterns": [path("login", login), re_path(r"^login$", login), re_path("^login/?$", login)]}
    )
    settings = override_settings(ROOT_URLCONF=urls, MIDDLEWARE=[])

    def application(environ: Any, start_response: Any) -> Any:
        with settings:
            return WSGIHandler()(environ, start_response)

    return application


def of_bottle(ran: Ran) -> Any:
    app = bottle.Bottle()
    app.post("/login")(lambda: ran.append("") or "in")
    return app


def of_pyramid(ran: Ran) -> Any:
    from pyramid.config import Configurator  # importing it warns of deprecated modules
    from pyramid.response import Response

    with Configurator() as config:
        config.add_route("login", "/login")
        config.add_view(lambda _: ran.append("") or Response("in"), route_name="login", request_method="POST")
        return config.make_wsgi_app()


class Login:
    def __init__(self, ran: Ran) -> None:
        self.ran = ran

    def on_post(self, req: Any, resp: Any) -> None:
        self.ran.append("")


class AsyncLogin(Login):
    async def on_post(self, req: Any, resp: Any) -> None:  # type: ignore[override]
        self.ran.append("")


def of_falcon(ran: Ran) -> Any:
    app = falcon.App()
    app.add_route("/login", Login(ran))
    return app


def of_async_falcon(ran: Ran) -> Any:
    app = falcon.asgi.App()
    app.add_route("/login", AsyncLogin(ran))
    return app


def of_starlette(ran: Ran) -> Any:
    async def login(request: Any) -> PlainTextResponse:
        ran.append("")
        return PlainTextResponse("in")

    return Starlette(routes=[Route("/login", login, methods=["POST"])])


def of_fastapi(ran: Ran) -> Any:
    app = fastapi.FastAPI()
    app.post("/login")(lambda: ran.append(""))
    return app


def of_quart(ran: Ran) -> Any:
    app = quart.Quart("routers")

    @app.post("/login")
    async def login() -> str:
        ran.append("")
        return "in"

    return app


def of_litestar(ran: Ran) -> Any:
    @litestar.post("/login")
    async def login() -> str:
        ran.append("")
        return "in"

    return litestar.Litestar([login])


ROUTERS: dict[str, tuple[Callable[[Ran], Any], bool]] = {
    "flask": (of_flask, False),
    "django": (of_django, False),
    "bottle": (of_bottle, False),
    "pyramid": (of_pyramid, False),
    "falcon": (of_falcon, False),
    "falcon, asynchronous": (of_async_falcon, True),
    "starlette": (of_starlette, True),
    "fastapi": (of_fastapi, True),
    "quart": (of_quart, True),
    "litestar": (of_litestar, True),
}


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


async def _asked(site: Any, spelling: str, number: int) -> None:
    for _ in range(number):
        with contextlib.suppress(Exception):  # a request that a framework cannot handle has not reached the view
            await asyncio.wait_for(ask_asgi(site, spelling, "POST", [("content-length", "0")], "203.0.113.9"), 5)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("router", ROUTERS)
def test_no_spelling_reaches_the_view_more_often_than_the_limit(router: str) -> None:
    make, is_asgi = ROUTERS[router]
    ran: Ran = []
    application = make(ran)
    reached: dict[str, int] = {}
    for spelling in [
        "/login",
        *SPELLINGS,
        *OTHERS,
        "/login\x00",
        "/login/.",
        "/login/..",
        "/login%0a",
        "/login?",
        "/log in",
    ]:
        rule = Rule(f"{LIMIT}/minute", paths=["/login"], methods=["POST"], name="login")
        site = (Asgi if is_asgi else Wsgi)(application, Policy(rule, store=MemoryStore(), workers=1))
        ran.clear()
        if is_asgi:
            asyncio.run(_asked(site, spelling, LIMIT + 2))
        else:
            for _ in range(LIMIT + 2):
                with contextlib.suppress(Exception):
                    ask_wsgi(site, spelling, "POST", [], "203.0.113.9")
        reached[spelling] = len(ran)
    assert reached["/login"] == LIMIT
    assert {spelling: number for spelling, number in reached.items() if number > LIMIT} == {}
