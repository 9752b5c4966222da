"""Families that show one limit show the strictest of all that have decided, whoever applies them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import fastapi
import pytest
from django.http import HttpResponse
from django.test import Client, override_settings
from rest_framework.response import Response
from rest_framework.views import APIView
from starlette.testclient import TestClient

import ratelimit_kit.fastapi
from django.urls import path
from ratelimit_kit import MemoryStore, Policy, Rule, SlidingWindow, Verdict
from ratelimit_kit.asgi import RateLimitMiddleware as Asgi
from ratelimit_kit.django.site import site_policy
from ratelimit_kit.drf import RateLimitThrottle
from ratelimit_kit.testing import ManualClock
from ratelimit_kit.web.response.headers import FAMILIES
from ratelimit_kit.wsgi import RateLimitMiddleware as Wsgi
from tests.integrations import DECORATORS, Answered, Site, ask_wsgi, site
from tests.test_wsgi import hello

FAMILY = {"draft6": "ratelimit", "x-ratelimit": "x-ratelimit"}
SECOND = 1_000_000

Ask = Callable[[], Answered]


def policy(rule: Rule, family: str) -> Policy:
    return Policy(rule, store=MemoryStore(clock=ManualClock()), headers=family)


@contextmanager
def decorated(name: str, family: str, outer: Rule, inner: dict[str, Any]) -> Iterator[Ask]:
    options = dict(inner)
    decorate = DECORATORS[name](options.pop("limit"), key="ip", name="inner", **options)
    with site(name, outer, decorate=decorate, headers=family) as found:
        yield found.ask


@contextmanager
def dependency(_: str, family: str, outer: Rule, inner: dict[str, Any]) -> Iterator[Ask]:
    options = dict(inner)
    app = fastapi.FastAPI()
    ratelimit_kit.fastapi.install(app, policy(outer, family))
    limit = ratelimit_kit.fastapi.RateLimit(options.pop("limit"), key="ip", name="inner", **options)
    app.add_api_route("/login", lambda: "in", dependencies=[fastapi.Depends(limit)])
    yield Site(app, asgi=True, ran=[]).ask  # type: ignore[arg-type]


@contextmanager
def throttle(_: str, family: str, outer: Rule, inner: dict[str, Any]) -> Iterator[Ask]:
    class Inner(RateLimitThrottle):
        limits = (inner["limit"],)
        scope = "inner"
        key = "ip"

    class Page(APIView):
        authentication_classes: Any = ()
        permission_classes: Any = ()
        throttle_classes: Any = (Inner,)

        def get(self, _request: Any) -> Response:
            return Response()

    urls = type("Urls", (), {"urlpatterns": [path("login", Page.as_view())]})
    setting = {"rules": [outer], "store": MemoryStore(clock=ManualClock()), "headers": family}
    with override_settings(ROOT_URLCONF=urls, RATELIMIT_KIT=setting, REST_FRAMEWORK={"UNAUTHENTICATED_USER": None}):
        client = Client()

        def ask() -> Answered:
            response: HttpResponse = client.get("/login")
            return Answered(response.status_code, {n.lower(): v for n, v in response.items()}, response.content)

        yield ask
    site_policy.cache_clear()


@contextmanager
def nested(name: str, family: str, outer: Rule, inner: dict[str, Any]) -> Iterator[Ask]:
    options = dict(inner)
    beneath = policy(Rule(options.pop("limit"), key="ip", name="inner", **options), family)
    if name == "wsgi":
        app: Any = Wsgi(Wsgi(hello, beneath), policy(outer, family))
        yield lambda: ask_wsgi(app, "/login", "GET", (), "203.0.113.9")
        return

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"in"})

    yield Site(Asgi(Asgi(application, beneath), policy(outer, family)), asgi=True, ran=[]).ask  # type: ignore[arg-type]


SITES = {
    **dict.fromkeys(DECORATORS, decorated),
    "dependency": dependency,
    "throttle": throttle,
    "wsgi": nested,
    "asgi": nested,
}


CASES: dict[str, tuple[dict[str, Any], dict[str, Any], int, int]] = {
    "decorator": ({"limit": "9/minute"}, {"limit": "5/minute"}, 5, 4),
    "policy": ({"limit": "5/minute"}, {"limit": "9/minute"}, 5, 4),
    "tie": ({"limit": "5/minute"}, {"limit": "5/hour"}, 5, 4),
    "refunded within": ({"limit": "7/minute"}, {"limit": "6/hour", "count": "failures"}, 6, 6),
    "refunded without": ({"limit": "6/minute", "count": "failures"}, {"limit": "6/hour"}, 6, 5),
}
"""What applies without and within, and what is shown of that after one request."""


@pytest.mark.parametrize(
    ("name", "case"),
    [(name, case) for name in SITES for case in CASES if name != "throttle" or "count" not in CASES[case][1]],
)
@pytest.mark.parametrize("family", FAMILY)
def test_the_fewest_units_left_are_shown(name: str, case: str, family: str) -> None:
    outer, inner, limit, left = CASES[case]
    rule = Rule(outer["limit"], key="ip", name="outer", count=outer.get("count", "all"))
    with SITES[name](name, family, rule, inner) as ask:
        answer = ask()
    prefix = FAMILY[family]
    assert answer.status == 200
    assert (answer.fields[f"{prefix}-limit"], answer.fields[f"{prefix}-remaining"]) == (str(limit), str(left))


@pytest.mark.parametrize("order", [("5/minute", "5/hour"), ("5/hour", "5/minute")], ids=str)
@pytest.mark.parametrize("name", SITES)
def test_equal_ones_are_told_apart_by_the_longest_reset(name: str, order: tuple[str, str]) -> None:
    with SITES[name](name, "draft6", Rule(order[0], key="ip", name="outer"), {"limit": order[1]}) as ask:
        assert ask().fields["ratelimit-reset"] == "3600"


@pytest.mark.parametrize("family", FAMILY)
@pytest.mark.parametrize("name", SITES)
def test_a_refusal_shows_what_refuses(name: str, family: str) -> None:
    """Also beside a limit of the policy with as few units left."""
    with SITES[name](name, family, Rule("2/hour", key="ip", name="outer"), {"limit": "1/minute"}) as ask:
        answer = [ask(), ask()][-1]
    prefix = FAMILY[family]
    assert answer.status == 429
    assert (answer.fields[f"{prefix}-limit"], answer.fields[f"{prefix}-remaining"]) == ("1", "0")
    assert answer.fields["retry-after"] == "60"


@pytest.mark.parametrize("family", FAMILY)
def test_of_several_refusals_the_longest_wait_is_shown(family: str) -> None:
    def denied(limit: SlidingWindow, left: int, wait: int) -> tuple[str, Verdict]:
        return "r", Verdict(False, limit, left, wait * SECOND, wait * SECOND)

    short, long = SlidingWindow(9, per=60), SlidingWindow(8, per=3600)
    for items in ([denied(short, 0, 30), denied(long, 3, 900)], [denied(long, 3, 900), denied(short, 0, 30)]):
        assert FAMILIES[family](items, 0, ())[0][1] == "8"


def test_fields_of_the_application_stay() -> None:
    app = fastapi.FastAPI()
    ratelimit_kit.fastapi.install(app, policy(Rule("5/minute", key="ip", name="outer"), "x-ratelimit"))
    limit = ratelimit_kit.fastapi.RateLimit("9/minute", key="ip", name="inner")

    @app.get("/", dependencies=[fastapi.Depends(limit)])
    async def page(response: fastapi.Response) -> None:
        response.headers["X-RateLimit-Limit"] = "own"

    answer = TestClient(app).get("/")
    assert answer.headers.get_list("X-RateLimit-Limit") == ["own"]
    assert answer.headers["X-RateLimit-Remaining"] == "4"
