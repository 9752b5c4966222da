"""Throttles with the names of Django REST framework's own: atomic, decided in one step, with fields."""

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
from tests.web.policy.test_policy import BrokenStore

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


class ByRate(UserRateThrottle):
    rate = "2/minute"


class ByRates(AnonRateThrottle):
    THROTTLE_RATES: ClassVar[dict[str, str]] = {"anon": "2/minute"}


class ByMethod(UserRateThrottle):
    def get_rate(self) -> str:
        return "2/minute"


@pytest.mark.parametrize("throttle", [ByRate, ByRates, ByMethod])
def test_a_rate_of_its_own_is_honoured(throttle: type[RateLimitThrottle]) -> None:
    page = view(throttle)
    assert [ask(page).status_code for _ in range(3)] == [200, 200, 429]
    assert [ask(view(UserRateThrottle)).status_code for _ in range(4)] == [200, 200, 200, 429]


def test_a_rate_of_none_is_no_limit_where_a_subclass_says_so() -> None:
    class Free(UserRateThrottle):
        def get_rate(self) -> None:
            return None

    assert [ask(view(Free)).status_code for _ in range(9)] == [200] * 9


class ByTenant(UserRateThrottle):
    limits = "2/minute"
    scope = "tenant"

    def get_cache_key(self, request: Request, view: Any) -> str | None:
        tenant = request.headers.get("x-tenant")
        return tenant and self.cache_format % {"scope": self.scope, "ident": tenant}


class ByIdent(AnonRateThrottle):
    limits = "2/minute"
    scope = "ident"

    def get_ident(self, request: Request) -> str:
        return request.headers.get("x-client", "")


class Nobody(AnonRateThrottle):
    limits = "1/minute"
    scope = "nobody"

    def get_cache_key(self, request: Request, view: Any) -> str | None:
        return super().get_cache_key(request, view)


def asked(page: Any, number: int, user: Any = None, **fields: str) -> list[int]:
    """The statuses of requests, each from a new address."""
    found = []
    for at in range(number):
        request = APIRequestFactory().get("/", REMOTE_ADDR=f"192.0.2.{at}", **fields)
        force_authenticate(request, user=user or AnonymousUser())
        found.append(page(request).status_code)
    return found


def test_a_key_of_its_own_is_honoured_and_none_is_no_limit() -> None:
    page = view(ByTenant)
    assert asked(page, 3, HTTP_X_TENANT="a") == [200, 200, 429]
    assert asked(page, 3, HTTP_X_TENANT="b") == [200, 200, 429]
    assert asked(page, 5) == [200] * 5
    assert asked(view(ByIdent), 3, HTTP_X_CLIENT="7") == [200, 200, 429]
    assert asked(view(ByIdent), 3, user=Person(1), HTTP_X_CLIENT="7") == [200] * 3


def test_what_a_subclass_asks_of_its_base_is_as_in_rest_framework() -> None:
    page = view(Nobody)
    assert [ask(page, Person(1)).status_code for _ in range(3)] == [200] * 3
    assert [ask(page).status_code for _ in range(2)] == [200, 429]


def test_two_throttles_of_one_scope_with_different_keys_are_both_asked() -> None:
    class Tenants(UserRateThrottle):
        def get_cache_key(self, request: Request, view: Any) -> str:
            return request.headers["x-tenant"]

    class Addresses(UserRateThrottle):
        key = "ip"

    page = view(UserRateThrottle, Tenants)
    assert [ask_as(page, tenant=str(at)) for at in range(4)] == [200, 200, 200, 429]
    both = view(UserRateThrottle, Addresses)
    assert [ask(both, address="192.0.2.99").status_code for _ in range(4)] == [200, 200, 200, 429]


def ask_as(page: Any, tenant: str) -> int:
    request = APIRequestFactory().get("/", REMOTE_ADDR="192.0.2.50", HTTP_X_TENANT=tenant)
    force_authenticate(request, user=AnonymousUser())
    return int(page(request).status_code)


def test_another_attribute_may_name_the_scope() -> None:
    class Named(ScopedRateThrottle):
        scope_attr = "quota"

    page = view(Named, quota="uploads")
    assert [ask(page).status_code for _ in range(3)] == [200, 200, 429]


def test_a_throttle_that_decides_for_itself_decides_for_nobody_else() -> None:
    class ButStaff(UserRateThrottle):
        scope = "burst"
        limits = "1/minute"

        def allow_request(self, request: Request, view: Any) -> bool:
            return request.user.pk == 1 or super().allow_request(request, view)

    staff, other = Person(1), Person(2)
    for throttles in ((ButStaff, UserRateThrottle), (UserRateThrottle, ButStaff)):
        site_policy.cache_clear()
        page = view(*throttles)
        assert [ask(page, staff).status_code for _ in range(4)] == [200, 200, 200, 429]
        assert [ask(page, other).status_code for _ in range(2)] == [200, 429]


@pytest.mark.parametrize(
    "name", ["parse_rate", "cache", "timer", "throttle_success", "throttle_failure", "count", "shadow", "limit"]
)
def test_what_would_be_overlooked_is_refused_when_the_class_is_made(name: str) -> None:
    with pytest.raises(OptionError, match=f"Late.{name} would be ignored"):
        type("Late", (UserRateThrottle,), {name: None})


def test_a_cost_above_the_limit_is_refused_without_a_time_to_wait() -> None:
    class Costly(UserRateThrottle):
        scope = "costly"
        limits = "2/minute"
        cost = staticmethod(lambda request: int(request.headers.get("x-items", "1")))

    request = APIRequestFactory().get("/", REMOTE_ADDR="192.0.2.7", HTTP_X_ITEMS="3")
    force_authenticate(request, user=AnonymousUser())
    refused = view(Costly)(request)
    assert (refused.status_code, refused.has_header("Retry-After")) == (429, False)
    with override_settings(RATELIMIT_KIT={"rules": [], "cost_status": 413}):
        site_policy.cache_clear()
        assert view(Costly)(request).status_code == 413
