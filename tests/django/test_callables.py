"""Callables of rules, plain ones that ask the database and coroutine functions, under WSGI and under ASGI."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import async_to_sync, iscoroutinefunction
from django.http import HttpResponse
from django.test import AsyncClient, Client
from django.test.utils import override_settings
from django.utils.asyncio import async_unsafe
from django.utils.decorators import sync_and_async_middleware
from django.utils.functional import SimpleLazyObject
from rest_framework.response import Response
from rest_framework.views import APIView

from django.urls import path
from ratelimit_kit import UNLIMITED, MemoryStore, Rule
from ratelimit_kit.django import ratelimit
from ratelimit_kit.drf import RateLimitThrottle

pytestmark = pytest.mark.usefixtures("ratelimits_reset")


class User:
    def __init__(self, name: str) -> None:
        self.pk = self.plan = name
        self.is_authenticated = True


@async_unsafe("You cannot ask the database on an event loop")
def of_database(name: str) -> User:
    return User(name)


@sync_and_async_middleware
def users(get_response: Any) -> Any:
    """Set `request.user` as AuthenticationMiddleware does: it is asked for when somebody uses it."""

    def set_user(request: Any) -> None:
        request.user = SimpleLazyObject(lambda: of_database(request.headers.get("x-user", "nobody")))

    if iscoroutinefunction(get_response):

        async def acall(request: Any) -> Any:
            set_user(request)
            return await get_response(request)

        return acall

    def call(request: Any) -> Any:
        set_user(request)
        return get_response(request)

    return call


def plain(of_user: Callable[[User], Any]) -> Callable[[Any], Any]:
    return lambda subject: of_user(user_of(subject))


def asynchronous(of_user: Callable[[User], Any]) -> Callable[[Any], Any]:
    async def value(subject: Any) -> Any:
        await asyncio.sleep(0)
        return of_user(await asyncio.to_thread(lambda: user_of(subject)))

    return value


def user_of(subject: Any) -> User:
    """The user of a request, of a Denial, or of a response of this site."""
    request = getattr(subject, "request", None) or getattr(subject, "asked", None) or subject
    return User(request.user.plan)


KINDS = {"plain": plain, "asynchronous": asynchronous}

OPTIONS: dict[str, Callable[[Any], dict[str, Any]]] = {
    "key": lambda made: {"limits": "1/minute", "key": made(lambda user: user.plan)},
    "keys": lambda made: {"limits": "1/minute", "key": ["ip", made(lambda user: user.plan)]},
    "limits": lambda made: {"limits": made(lambda user: UNLIMITED if user.plan == "gold" else "1/minute"), "key": "ip"},
    "exempt": lambda made: {"limits": "1/minute", "exempt": made(lambda user: user.plan == "gold")},
    "when": lambda made: {"limits": "1/minute", "when": made(lambda user: user.plan != "gold")},
    "cost": lambda made: {"limits": "1/minute", "cost": made(lambda user: 0 if user.plan == "gold" else 1)},
    "count": lambda made: {
        "limits": "1/minute",
        "count": made(lambda user: user.plan != "gold"),
        "key": made(lambda user: user.plan),
    },
}
"""Rules that admit one request of anybody, and then another one of "gold" and no other one of "tin"."""


def answered(request: Any) -> HttpResponse:
    response = HttpResponse("fine")
    response.asked = request  # type: ignore[attr-defined]
    return response


async def aanswered(request: Any) -> HttpResponse:
    return answered(request)


def rule_of(options: dict[str, Any]) -> Rule:
    return Rule(options["limits"], **{name: value for name, value in options.items() if name != "limits"})


def site(rules: list[Rule], **options: Any) -> Any:
    return override_settings(
        ROOT_URLCONF=__name__,
        MIDDLEWARE=[f"{__name__}.users", "ratelimit_kit.django.RateLimitMiddleware"],
        RATELIMIT_KIT={"store": MemoryStore(), "rules": rules, **options},
    )


def get(server: str, place: str, user: str) -> Any:
    if server == "wsgi":
        return Client().get(place, headers={"x-user": user})
    return async_to_sync(AsyncClient().get)(place, headers={"x-user": user})


urlpatterns = [path("", answered), path("a", aanswered)]


@pytest.mark.parametrize("view", ["/", "/a"])
@pytest.mark.parametrize("server", ["wsgi", "asgi"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("option", OPTIONS)
def test_callables_of_either_kind_read_the_user_in_the_rules_of_a_site(
    option: str, kind: str, server: str, view: str
) -> None:
    with site([rule_of(OPTIONS[option](KINDS[kind]))]):
        found = [get(server, view, user).status_code for user in ("tin", "tin", "gold")]
        if option in {"limits", "exempt", "when", "cost"}:
            found.append(get(server, view, "gold").status_code)
    assert found == [200, 429, 200, *([200] if len(found) == 4 else [])]


@pytest.mark.parametrize("server", ["wsgi", "asgi"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("view", [answered, aanswered])
def test_callables_of_either_kind_read_the_user_in_a_decorator(view: Any, option: str, kind: str, server: str) -> None:
    options = OPTIONS[option](KINDS[kind])
    limited = ratelimit(options.pop("limits"), **options)(view)
    with site([Rule("100/minute", name="site")]), override_settings(ROOT_URLCONF=(path("", limited),)):
        assert [get(server, "/", user).status_code for user in ("tin", "tin", "gold")] == [200, 429, 200]


@pytest.mark.parametrize("server", ["wsgi", "asgi"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_denial_of_ones_own_reads_the_user(kind: str, server: str) -> None:
    rules = [Rule("0/minute", key="global"), Rule("1/minute", cost=lambda _: 2, key="global", paths=["/a"])]
    with site(rules, denial=KINDS[kind](lambda user: f"no, {user.plan}")):
        for place in ("/", "/a"):
            refused = get(server, place, "tin")
            assert (refused.status_code, refused.content) == (429, b"no, tin")


@pytest.mark.parametrize("server", ["wsgi", "asgi"])
@pytest.mark.parametrize("kind", KINDS)
def test_throttles_take_callables_of_either_kind(kind: str, server: str) -> None:
    class Throttle(RateLimitThrottle):
        limits = "1/minute"
        key = staticmethod(KINDS[kind](lambda user: user.plan))  # type: ignore[assignment]

    class Throttled(APIView):
        authentication_classes = ()
        throttle_classes = (Throttle,)

        def initial(self, request: Any, *args: Any, **kwargs: Any) -> None:
            request.user = request._request.user
            super().initial(request, *args, **kwargs)

        def get(self, _request: Any) -> Response:
            return Response("fine")

    with site([Rule("100/minute", name="site")]), override_settings(ROOT_URLCONF=(path("", Throttled.as_view()),)):
        assert [get(server, "/", user).status_code for user in ("tin", "tin", "gold")] == [200, 429, 200]


def test_what_never_waits_is_not_given_to_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lists of paths and statuses, and the usual body, are this library's own."""

    async def apart(*_: Any) -> Any:
        pytest.fail("there is nothing to wait for")

    rules = [Rule("1/minute", key="ip", exempt=["/b"], count="successes"), Rule("9/minute", count=[200])]
    with site(rules, exempt=["/c"]):
        from ratelimit_kit.django import site as module

        monkeypatch.setattr(module, "BRIDGE", module.BRIDGE._replace(apart=apart))
        assert [get("asgi", "/", "tin").status_code for _ in range(2)] == [200, 429]
