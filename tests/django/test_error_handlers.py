"""`on_outage="raise"` in Django: for which limits `process_exception` of a site's middleware is called."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from django.http import HttpRequest, HttpResponse
from django.test import Client, override_settings

from django.urls import path
from ratelimit_kit.django import ratelimit
from tests.outage.flaky import DOWN, Flaky

HANDLED = 418


class Handles:
    """A middleware with `process_exception`, which Django calls for errors of views."""

    def __init__(self, get_response: Any) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response: HttpResponse = self.get_response(request)
        return response

    def process_exception(self, _request: HttpRequest, _error: Exception) -> HttpResponse:
        return HttpResponse(status=HANDLED)


@ratelimit("5/minute", name="decorated")
def decorated(_request: HttpRequest) -> HttpResponse:
    return HttpResponse()


urlpatterns = [path("site", lambda _request: HttpResponse()), path("decorated", decorated)]


def test_django_handles_errors_of_decorators_but_not_of_the_middleware(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "django.request")
    store = Flaky()
    store.error = DOWN
    rules = [{"limits": "5/minute", "key": "ip", "name": "site", "paths": ["/site"]}]
    with override_settings(
        ROOT_URLCONF=__name__,
        MIDDLEWARE=[f"{__name__}.Handles", "ratelimit_kit.django.RateLimitMiddleware"],
        RATELIMIT_KIT={"store": store, "rules": rules, "on_outage": "raise", "start_without_store": True},
    ):
        client = Client(raise_request_exception=False)
        assert [client.get(page).status_code for page in ("/site", "/decorated")] == [500, HANDLED]
