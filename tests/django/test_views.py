"""Django's view decorator on views of Django REST framework, and on several methods of one class."""

from __future__ import annotations

from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.http import HttpResponse
from django.test import Client, RequestFactory
from django.test.utils import override_settings
from django.utils.decorators import method_decorator
from django.views import View
from rest_framework.decorators import api_view
from rest_framework.response import Response
from rest_framework.views import APIView

from django.urls import path
from ratelimit_kit.django import ratelimit
from ratelimit_kit.drf import UserRateThrottle

TWICE = ratelimit("2/minute", key="ip")


@api_view(["GET"])
@TWICE
def beneath(request: Any) -> Response:
    return Response("Hello!")


@TWICE
@api_view(["GET"])
def above(request: Any) -> Response:
    return Response("Hello!")


@TWICE
@api_view(["GET"])
def another(request: Any) -> Response:
    return Response("Hello!")


class Methods(View):
    @method_decorator(TWICE)
    def get(self, request: Any) -> HttpResponse:
        return HttpResponse("read")

    @method_decorator(TWICE)
    def post(self, request: Any) -> HttpResponse:
        return HttpResponse("written")


class Throttle(UserRateThrottle):
    limits = "2/minute"
    scope = "twice"
    key = "ip"


class Throttled(APIView):
    authentication_classes = ()
    throttle_classes = (Throttle, Throttle)

    def get(self, request: Any) -> Response:
        return Response("Hello!")


urlpatterns = [
    path("beneath", beneath),
    path("above", above),
    path("another", another),
    path("methods", Methods.as_view()),
    path("throttled", Throttled.as_view()),
]

pytestmark = pytest.mark.usefixtures("ratelimits_reset")


@pytest.fixture(autouse=True)
def _site() -> Any:
    with override_settings(
        ROOT_URLCONF=__name__,
        MIDDLEWARE=[],
        RATELIMIT_KIT={"store": "memory://"},
        REST_FRAMEWORK={"DEFAULT_AUTHENTICATION_CLASSES": [], "UNAUTHENTICATED_USER": None},
    ):
        yield


@pytest.mark.parametrize("url", ["/beneath", "/above", "/throttled"])
def test_a_view_of_the_rest_framework_is_limited_whatever_the_order(url: str) -> None:
    assert [Client().get(url).status_code for _ in range(4)] == [200, 200, 429, 429]


def test_views_of_the_rest_framework_in_one_module_have_counters_of_their_own() -> None:
    assert [Client().get("/above").status_code for _ in range(3)] == [200, 200, 429]
    assert Client().get("/another").status_code == 200


def test_methods_of_one_class_have_counters_of_their_own() -> None:
    assert [Client().get("/methods").status_code for _ in range(3)] == [200, 200, 429]
    assert [Client().post("/methods").status_code for _ in range(3)] == [200, 200, 429]


def test_a_request_factory_needs_no_routing() -> None:
    view = Methods.as_view()
    assert [view(RequestFactory().get("/anywhere")).status_code for _ in range(3)] == [200, 200, 429]


def test_a_view_may_be_called_by_keyword() -> None:
    @ratelimit("1/minute", key="ip")
    def report(request: Any) -> HttpResponse:
        return HttpResponse("read")

    @ratelimit("1/minute", key="ip")
    async def areport(request: Any) -> HttpResponse:
        return HttpResponse("read")

    for view in (report, async_to_sync(areport)):
        assert [view(request=RequestFactory().get("/")).status_code for _ in range(2)] == [200, 429]
