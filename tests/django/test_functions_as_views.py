"""`from ratelimit_kit import ratelimit` on a view of Django or Django REST framework."""

from __future__ import annotations

from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.http import HttpResponse
from django.test import AsyncClient, Client
from django.test.utils import override_settings
from rest_framework.decorators import api_view
from rest_framework.response import Response

from django.urls import path
from ratelimit_kit import LimitExceeded, MemoryStore, Rule, ratelimit


def get(server: str) -> Any:
    return Client().get("/") if server == "wsgi" else async_to_sync(AsyncClient().get)("/")


def plain(_request: Any) -> HttpResponse:
    return HttpResponse("fine")


async def asynchronous(_request: Any) -> HttpResponse:
    return HttpResponse("fine")


def of_rest_framework(_request: Any) -> Response:
    return Response("fine")


def limited(view: Any) -> Any:
    decorated = ratelimit("1/minute")(view)
    return api_view(["GET"])(decorated) if view is of_rest_framework else decorated


VIEWS = pytest.mark.parametrize("view", [plain, asynchronous, of_rest_framework], ids=lambda view: view.__name__)
SERVERS = pytest.mark.parametrize("server", ["wsgi", "asgi"])


@SERVERS
@VIEWS
def test_the_middleware_answers_as_to_every_refusal(view: Any, server: str) -> None:
    with override_settings(
        ROOT_URLCONF=(path("", limited(view)),),
        MIDDLEWARE=["ratelimit_kit.django.RateLimitMiddleware"],
        RATELIMIT_KIT={"store": MemoryStore(), "rules": [Rule("9/minute", name="site")]},
    ):
        assert get(server).status_code == 200
        refused = get(server)
    assert refused.status_code == 429
    assert refused.headers["Content-Type"] == "application/problem+json"
    assert 1 <= int(refused.headers["Retry-After"]) <= 60
    assert refused.headers["RateLimit"].startswith('"site";r=7')


@SERVERS
@VIEWS
def test_without_the_middleware_the_error_says_what_to_import(view: Any, server: str) -> None:
    with override_settings(ROOT_URLCONF=(path("", limited(view)),), MIDDLEWARE=[]):
        assert get(server).status_code == 200
        with pytest.raises(LimitExceeded, match=r"write: from ratelimit_kit\.django import ratelimit \[RLK429\]"):
            get(server)


@SERVERS
def test_other_errors_are_none_of_its_business(server: str) -> None:
    def broken(_request: Any) -> HttpResponse:
        raise KeyError("mine")

    with (
        override_settings(ROOT_URLCONF=(path("", broken),), MIDDLEWARE=["ratelimit_kit.django.RateLimitMiddleware"]),
        pytest.raises(KeyError, match="mine"),
    ):
        get(server)
