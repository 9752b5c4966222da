"""An outage is told once, by this library's log: Django neither logs each request that is refused, nor mails the admins."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest
from django.http import HttpResponse
from django.test import AsyncClient, Client, override_settings
from rest_framework.response import Response
from rest_framework.views import APIView, exception_handler

from django.urls import path
from ratelimit_kit.django import health, ratelimit
from ratelimit_kit.drf import RateLimitThrottle
from tests.web.policy.test_policy import BrokenStore


def plain(_request: Any) -> HttpResponse:
    return HttpResponse()


class Few(RateLimitThrottle):
    limits = ("1/day",)
    scope = "few"
    key = "ip"


class Api(APIView):
    authentication_classes: Any = ()
    permission_classes: Any = ()
    throttle_classes: Any = (Few,)

    def get(self, _request: Any) -> Response:
        return Response()


class OwnWords(Api):
    """An API whose own handler writes the errors."""

    def get_exception_handler(self) -> Any:
        return lambda error, context: Response("later", exception_handler(error, context).status_code)


urlpatterns = [
    path("plain", plain),
    path("decorated", ratelimit("1/day", name="decorated")(plain)),
    path("api", Api.as_view()),
    path("own-words", OwnWords.as_view()),
    path("healthz", health),
]

REFUSED = ["/plain", "/decorated", "/api", "/own-words"]


SETTING = {
    "rules": [{"limits": "1/day", "key": "ip", "name": "site", "paths": ["/plain"]}],
    "on_outage": "deny",
    "start_without_store": True,
}


@pytest.fixture(autouse=True)
def _site() -> Iterator[None]:
    with override_settings(ROOT_URLCONF=__name__, RATELIMIT_KIT=SETTING, REST_FRAMEWORK={"UNAUTHENTICATED_USER": None}):
        yield


@pytest.fixture
def outage(_site: None) -> Iterator[None]:
    with override_settings(RATELIMIT_KIT={**SETTING, "store": BrokenStore()}):
        yield


def told(caplog: pytest.LogCaptureFixture, name: str) -> int:
    return sum(record.name == name and record.levelno >= logging.WARNING for record in caplog.records)


@pytest.mark.usefixtures("outage")
@pytest.mark.parametrize("page", [*REFUSED, "/healthz"])
def test_an_outage_is_logged_once(page: str, caplog: pytest.LogCaptureFixture) -> None:
    client = Client()
    assert {client.get(page).status_code for _ in range(9)} == {503}
    assert told(caplog, "django.request") == 0
    assert told(caplog, "ratelimit_kit") <= 2  # the start without the store, and the outage


@pytest.mark.usefixtures("outage")
@pytest.mark.parametrize("page", REFUSED)
async def test_an_outage_is_logged_once_under_asgi(page: str, caplog: pytest.LogCaptureFixture) -> None:
    client = AsyncClient()
    assert {(await client.get(page)).status_code for _ in range(9)} == {503}
    assert told(caplog, "django.request") == 0


@pytest.mark.parametrize("page", REFUSED)
def test_refusals_are_not_logged(page: str, caplog: pytest.LogCaptureFixture) -> None:
    client = Client()
    assert [client.get(page).status_code for _ in range(9)] == [200] + [429] * 8
    assert told(caplog, "django.request") == 0


def test_other_errors_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    Client().post("/api")
    assert told(caplog, "django.request") == 1
