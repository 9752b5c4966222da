"""Throttles under the names of Django REST framework's own: atomic, all at once, with fields."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import pytest
from django.contrib.auth.models import AnonymousUser
from django.test import override_settings
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.settings import api_settings
from rest_framework.test import APIRequestFactory, force_authenticate
from rest_framework.views import APIView

from ratelimit_kit.django.site import site_policy
from ratelimit_kit.drf import AnonRateThrottle, RateLimitThrottle, ScopedRateThrottle, UserRateThrottle
from ratelimit_kit.errors import OptionError
from tests.web.test_policy import BrokenStore

RATES = {"user": "3/minute", "anon": "1/minute", "uploads": "token-bucket: 1/minute burst 2"}


@pytest.fixture(autouse=True)
def _rates(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(api_settings, "DEFAULT_THROTTLE_RATES", RATES)
    with override_settings(RATELIMIT_KIT={"rules": []}):
        site_policy.cache_clear()
        yield
    site_policy.cache_clear()


class Person:
    is_authenticated = True
    is_active = True

    def __init__(self, pk: int) -> None:
        self.pk = pk


def view(*throttles: Any, **attributes: Any) -> Any:
    class Page(APIView):
        authentication_classes: ClassVar[list[Any]] = []
        permission_classes: ClassVar[list[Any]] = []
        throttle_classes: ClassVar[list[Any]] = list(throttles)

        def get(self, request: Request) -> Response:
            return Response({"ok": True})

    for name, value in attributes.items():
        setattr(Page, name, value)
    return Page.as_view()


def ask(page: Any, user: Any = None, address: str = "192.0.2.7") -> Any:
    request = APIRequestFactory().get("/", REMOTE_ADDR=address)
    force_authenticate(request, user=user or AnonymousUser())
    return page(request)


class Burst(RateLimitThrottle):
    limits = "2/minute"
    scope = "burst"


def test_users_and_addresses_have_their_rates() -> None:
    page = view(UserRateThrottle, AnonRateThrottle)
    assert [ask(page).status_code for _ in range(2)] == [200, 429]
    assert [ask(page, Person(1)).status_code for _ in range(4)] == [200, 200, 200, 429]
    assert ask(page, Person(2)).status_code == 200
    assert ask(page, address="192.0.2.8").status_code == 200


def test_fields_and_waits_are_told() -> None:
    page = view(Burst)
    first, _, refused = ask(page), ask(page), ask(page)
    assert first["RateLimit"] == '"throttle.burst";r=1;t=30'
    assert first["RateLimit-Policy"] == '"throttle.burst";q=2;w=60'
    assert refused["RateLimit"] == '"throttle.burst";r=0;t=60'
    assert refused["Retry-After"] == "60"
    assert "60 seconds" in str(refused.data["detail"])


def test_all_throttles_of_a_view_are_decided_at_once_or_not_at_all() -> None:
    page = view(Burst, UserRateThrottle)
    person = Person(1)
    assert [ask(page, person).status_code for _ in range(5)] == [200, 200, 429, 429, 429]
    assert [ask(view(UserRateThrottle), person).status_code for _ in range(2)] == [200, 429]


def test_views_of_one_scope_count_together() -> None:
    upload, other, free = (
        view(ScopedRateThrottle, throttle_scope="uploads"),
        view(ScopedRateThrottle, throttle_scope="uploads"),
        view(ScopedRateThrottle),
    )
    assert [ask(upload).status_code, ask(other).status_code, ask(upload).status_code] == [200, 200, 429]
    assert [ask(free).status_code for _ in range(5)] == [200] * 5


def test_a_throttle_without_limits_is_an_error_and_never_no_limit() -> None:
    class Forgotten(RateLimitThrottle):
        pass

    with pytest.raises(OptionError, match="Forgotten has no limits"):
        ask(view(Forgotten))
    with pytest.raises(OptionError, match=r"ScopedRateThrottle has no limits.*'download'"):
        ask(view(ScopedRateThrottle, throttle_scope="download"))


def test_an_outage_that_denies_is_503() -> None:
    with override_settings(RATELIMIT_KIT={"rules": [], "store": BrokenStore(), "on_outage": "deny"}):
        site_policy.cache_clear()
        answer = ask(view(Burst))
    assert (answer.status_code, answer["Retry-After"]) == (503, "1")
