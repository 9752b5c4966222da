"""No client's numbers in responses that a shared cache may store (RFC 9111, RFC 9213), wherever that is decided."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpResponse
from django.test.utils import override_settings
from django.views.decorators.cache import cache_page
from rest_framework.response import Response as APIResponse
from rest_framework.views import APIView

from django.urls import path
from ratelimit_kit import MemoryStore, Policy, Rule
from ratelimit_kit.django import ratelimit
from ratelimit_kit.django.site import add_fields
from ratelimit_kit.drf import UserRateThrottle
from ratelimit_kit.web.http.messages import Headers
from ratelimit_kit.web.response.headers import is_shared
from ratelimit_kit.wsgi import RateLimitMiddleware
from tests.integrations import Answered, ask_wsgi

SHARED = [
    [("Cache-Control", "max-age=600")],
    [("Cache-Control", "max-age=0")],
    [("Cache-Control", "public")],
    [("Cache-Control", "no-cache, s-maxage=60")],
    [("Cache-Control", "Max-Age=600")],
    [("Cache-Control", 'max-age=600, private="set-cookie"')],
    [("Cache-Control", 'max-age=600, community="private, no-store"')],
    [("Cache-Control", "private, max-age=600"), ("CDN-Cache-Control", "max-age=600")],
    [("Expires", "Fri, 01 Jan 2100 00:00:00 GMT")],
    [("Surrogate-Control", "max-age=600")],
    [("X-Accel-Expires", "600")],
    [("X-Accel-Expires", "600"), ("Cache-Control", "private")],
    [("Age", "3")],
]

OWN: list[list[tuple[str, str]]] = [
    [],
    [("Cache-Control", "private, max-age=600")],
    [("Cache-Control", "max-age=600, PRIVATE")],
    [("Cache-Control", "no-store")],
    [("Cache-Control", "no-cache")],
    [("Cache-Control", "max-age=0, no-cache, no-store, must-revalidate, private"), ("Expires", "0")],
    [("CDN-Cache-Control", "no-store")],
    [("X-Accel-Expires", "0")],
    [("Cache-Control", 'no-cache="max-age=3"')],
]


@pytest.mark.parametrize(("headers", "shared"), [*((one, True) for one in SHARED), *((one, False) for one in OWN)])
def test_what_a_shared_cache_may_keep(headers: list[tuple[str, str]], shared: bool) -> None:
    assert is_shared(Headers(lambda: headers)) is shared

    def application(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", list(headers))
        return [b""]

    site = RateLimitMiddleware(application, Policy(Rule("9/minute"), store=MemoryStore(), workers=1))
    assert ("ratelimit" in ask_wsgi(site, "/", "GET", [], "203.0.113.9").fields) is not shared


def plain(request: Any) -> HttpResponse:
    return HttpResponse("in")


class Throttle(UserRateThrottle):
    limits = "9/minute"
    scope = "cached"


class Throttled(APIView):
    authentication_classes = ()
    throttle_classes = (Throttle,)

    def get(self, request: Any) -> APIResponse:
        return APIResponse("in")


limited = ratelimit("9/minute", name="page")

urlpatterns = [
    path("outside", cache_page(60)(limited(plain))),
    path("inside", limited(cache_page(60)(plain))),
    path("site", plain),
    path("throttled", cache_page(60)(Throttled.as_view())),
    path("uncached", limited(plain)),
]

OURS = "ratelimit_kit.django.RateLimitMiddleware"
UPDATE, FETCH = (
    f"django.middleware.cache.{name}FromCacheMiddleware".replace("UpdateFrom", "Update") for name in ("Update", "Fetch")
)
UPDATE = "django.middleware.cache.UpdateCacheMiddleware"


@pytest.mark.parametrize(
    ("where", "middleware"),
    [
        ("/outside", []),
        ("/outside", [OURS]),
        ("/inside", []),
        ("/inside", [OURS]),
        ("/site", [UPDATE, OURS, FETCH]),
        ("/site", [OURS, UPDATE, FETCH]),
        ("/throttled", []),
        ("/throttled", [OURS]),
    ],
)
def test_djangos_caches_neither_keep_nor_send_them(where: str, middleware: list[str]) -> None:
    caches = {
        "default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "LOCATION": f"{where}{middleware}"}
    }
    setting = {"store": MemoryStore(), "rules": [{"limits": "99/minute", "name": "site"}]}
    with override_settings(ROOT_URLCONF=__name__, MIDDLEWARE=middleware, CACHES=caches, RATELIMIT_KIT=setting):
        handler = WSGIHandler()
        answers: list[Answered] = [ask_wsgi(handler, where, "GET", [], f"203.0.113.{at}") for at in range(3)]
    for answer in answers:
        assert (answer.status, "max-age=" in answer.fields["cache-control"]) == (200, True)
        assert not [name for name in answer.fields if name.startswith("ratelimit")]


def test_what_no_cache_keeps_has_them() -> None:
    setting = {"store": MemoryStore(), "rules": [{"limits": "99/minute", "name": "site"}]}
    with override_settings(ROOT_URLCONF=__name__, MIDDLEWARE=[OURS], RATELIMIT_KIT=setting):
        fields = ask_wsgi(WSGIHandler(), "/uncached", "GET", [], "203.0.113.9").fields["ratelimit-policy"]
    assert fields == '"page";q=9;w=60, "site";q=99;w=60'


def test_a_response_of_djangos_can_be_read_and_pickled_as_before() -> None:
    response = add_fields([("RateLimit", '"a";r=1')], HttpResponse("in", headers={"X-Own": "1"}))
    assert response["ratelimit"] == '"a";r=1'
    assert dict(response.items())["RateLimit"] == '"a";r=1'
    copy = pickle.loads(pickle.dumps(response))
    assert dict(copy.items()) == {"X-Own": "1", "Content-Type": "text/html; charset=utf-8"}
    response["Cache-Control"] = "max-age=60"
    assert "RateLimit" not in dict(response.items())
    del response["Cache-Control"]
    assert "RateLimit" in response.headers
