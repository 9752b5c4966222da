"""An unnamed limit is `limit` in what a client gets, or `limit-2`: where the code is concerns nobody."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import fastapi
import flask
import pytest
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpResponse
from django.test.utils import override_settings
from django.utils.decorators import method_decorator
from django.views import View
from flask.views import MethodView
from rest_framework.response import Response
from rest_framework.views import APIView

import ratelimit_kit.django
import ratelimit_kit.fastapi
import ratelimit_kit.flask
from django.urls import path
from ratelimit_kit import MemoryStore, Policy
from ratelimit_kit.drf import RateLimitThrottle
from ratelimit_kit.testing import ManualClock
from tests.integrations import Answered, ask_asgi, ask_wsgi

LIMITS = ("1/minute", "9/hour")
"""The limits of the inner and of the outer decorator."""

SECRET = "hidden_away"

Ask = Callable[[], Answered]


def policy(**options: Any) -> Policy:
    return Policy(store=MemoryStore(clock=ManualClock()), **options)


def twice(ratelimit: Any, limited: Any) -> Any:
    inner, outer = LIMITS
    return ratelimit(outer)(ratelimit(inner)(limited))


def view() -> Any:
    """A view of its own for each site: one that is decorated must not be served bare elsewhere."""

    def hidden_away(*_: Any, **__: Any) -> str:
        return "in"

    return hidden_away


@contextmanager
def of_flask(limited: Any) -> Iterator[Ask]:
    app = flask.Flask("labels")
    ratelimit_kit.flask.RateLimit(app, policy())
    if isinstance(limited, flask.Blueprint):
        limited.add_url_rule("/login", view_func=view())
        app.register_blueprint(limited)
    else:
        app.add_url_rule("/login", view_func=limited, endpoint="login")
    yield lambda: ask_wsgi(app, "/login", "GET", (), "203.0.113.9")


def flask_function() -> Any:
    return of_flask(twice(ratelimit_kit.flask.ratelimit, view()))


def flask_class() -> Any:
    inner, outer = LIMITS

    class HiddenAway(MethodView):
        decorators = (ratelimit_kit.flask.ratelimit(inner), ratelimit_kit.flask.ratelimit(outer))
        get = view()

    return of_flask(HiddenAway.as_view(SECRET))


def flask_blueprint() -> Any:
    return of_flask(twice(ratelimit_kit.flask.ratelimit, flask.Blueprint(SECRET, __name__)))


@contextmanager
def of_django(limited: Any) -> Iterator[Ask]:
    urls = type("Urls", (), {"urlpatterns": [path("login", limited)]})
    setting = {"store": MemoryStore(clock=ManualClock()), "rules": [{"limits": "99/minute", "paths": ["/none"]}]}
    with override_settings(ROOT_URLCONF=urls, RATELIMIT_KIT=setting, REST_FRAMEWORK={"UNAUTHENTICATED_USER": None}):
        yield lambda: ask_wsgi(WSGIHandler(), "/login", "GET", (), "203.0.113.9")


def django_function() -> Any:
    def hidden_away(_request: Any) -> HttpResponse:
        return HttpResponse()

    return of_django(twice(ratelimit_kit.django.ratelimit, hidden_away))


def django_class() -> Any:
    inner, outer = LIMITS

    @method_decorator(ratelimit_kit.django.ratelimit(outer), name="dispatch")
    @method_decorator(ratelimit_kit.django.ratelimit(inner), name="dispatch")
    class HiddenAway(View):
        def get(self, _request: Any) -> HttpResponse:
            return HttpResponse()

    return of_django(HiddenAway.as_view())


@contextmanager
def of_fastapi(endpoint: Any, **options: Any) -> Iterator[Ask]:
    app = fastapi.FastAPI()
    ratelimit_kit.fastapi.install(app, policy())
    router = fastapi.APIRouter()
    router.add_api_route("/login", endpoint)
    app.include_router(router, **options)
    yield lambda: asyncio.run(ask_asgi(app, "/login", "GET", (), "203.0.113.9"))


def fastapi_function() -> Any:
    async def hidden_away() -> None: ...

    return of_fastapi(twice(ratelimit_kit.fastapi.ratelimit, hidden_away))


def fastapi_dependencies() -> Any:
    return of_fastapi(
        lambda: "in", dependencies=[fastapi.Depends(ratelimit_kit.fastapi.RateLimit(limit)) for limit in LIMITS]
    )


SITES = {
    make.__name__: make
    for make in (
        flask_function,
        flask_class,
        flask_blueprint,
        django_function,
        django_class,
        fastapi_function,
        fastapi_dependencies,
    )
}


def shown(answer: Answered) -> str:
    return " ".join([*answer.fields.values(), answer.body.decode()])


@pytest.mark.parametrize("name", SITES)
def test_unnamed_decorators_are_numbered_and_tell_nothing_of_the_code(name: str) -> None:
    with SITES[name]() as ask:
        passed, refused = ask(), ask()
    assert (passed.status, refused.status) == (200, 429)
    named = sorted(item.partition(";")[0].strip() for item in passed.fields["ratelimit-policy"].split(","))
    assert named == ['"limit"', '"limit-2"']
    for answer in (passed, refused):
        for word in (SECRET, "HiddenAway", __name__.rpartition(".")[2], "blueprint", "path./"):
            assert word not in shown(answer)


class HiddenThrottle(RateLimitThrottle):
    limits = ("1/minute",)
    key = "ip"


class Page(APIView):
    authentication_classes: Any = ()
    permission_classes: Any = ()
    throttle_classes: Any = (HiddenThrottle,)

    def get(self, _request: Any) -> Response:
        return Response()


def test_a_throttle_tells_its_class_but_not_its_module() -> None:
    with of_django(Page.as_view()) as ask:
        passed, refused = ask(), ask()
    assert (passed.status, refused.status) == (200, 429)
    assert passed.fields["ratelimit"].startswith('"throttle.HiddenThrottle"')
    assert __name__.rpartition(".")[2] not in shown(passed) + shown(refused)
