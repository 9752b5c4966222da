"""Fields are written after the view, and reckoned from then: its duration is over when a client reads them."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest
from django.test import override_settings
from rest_framework.response import Response
from rest_framework.test import APIRequestFactory
from rest_framework.views import APIView

from ratelimit_kit import MemcachedStore, MemoryStore, RedisStore, Rule
from ratelimit_kit.django.site import site_policy
from ratelimit_kit.drf import RateLimitThrottle
from ratelimit_kit.testing import ManualClock
from ratelimit_kit.web.response import headers
from tests.integrations import DECORATORS, WAYS, limited, site

NOW = 1_000_000


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> ManualClock:
    monkeypatch.setattr(headers, "time", SimpleNamespace(time=lambda: NOW))
    return ManualClock(1000)


@pytest.mark.parametrize(
    ("family", "limit", "seconds", "field", "value"),
    [
        ("draft11", "1/minute", 0, "ratelimit", '"view";r=0;t=60'),
        ("draft11", "1/minute", 17.5, "ratelimit", '"view";r=0;t=43'),
        ("draft11", "10/minute", 17, "ratelimit", '"view";r=9;t=37'),
        ("draft11", "1/minute", 100, "ratelimit", '"view";r=0;t=1'),
        ("draft6", "1/minute", 17.5, "ratelimit-reset", "43"),
        ("draft6", "10/minute", 17.5, "ratelimit-reset", "43"),
        ("draft6", "1/minute", 100, "ratelimit-reset", "0"),
        ("x-ratelimit", "1/minute", 17.5, "x-ratelimit-reset", str(NOW + 43)),
        ("x-ratelimit", "10/minute", 17.5, "x-ratelimit-reset", str(NOW + 43)),
        ("x-ratelimit", "1/minute", 100, "x-ratelimit-reset", str(NOW)),
    ],
)
@pytest.mark.parametrize("way", WAYS)
def test_the_duration_of_the_view_is_over(
    way: str, family: str, limit: str, seconds: float, field: str, value: str, clock: ManualClock
) -> None:
    options = {"store": MemoryStore(clock=clock), "headers": family}
    with limited(way, limit, options, key="ip", name="view") as found:
        found.ran.during = lambda: clock.advance(seconds)
        shown = found.ask().fields[field].split(", ")
    assert [one for one in shown if not one.startswith('"other"')] == [value]


@pytest.mark.parametrize("name", DECORATORS)
def test_the_policy_and_a_decorator_reckon_from_the_same_moment(name: str, clock: ManualClock) -> None:
    options = {"store": MemoryStore(clock=clock)}
    decorate = DECORATORS[name]("1/minute", key="ip", name="view")
    with site(name, Rule("1/hour", key="ip", name="site"), decorate=decorate, **options) as found:
        found.ran.during = lambda: clock.advance(17)
        shown = set(found.ask().fields["ratelimit"].split(", "))
    assert shown == {'"site";r=0;t=3583', '"view";r=0;t=43'}


@pytest.mark.parametrize("way", WAYS)
def test_a_view_that_sets_the_clock_back_adds_nothing(way: str, clock: ManualClock) -> None:
    with limited(way, "1/minute", {"store": MemoryStore(clock=clock)}, key="ip", name="view") as found:
        found.ran.during = lambda: clock.advance(-5)
        assert '"view";r=0;t=60' in found.ask().fields["ratelimit"]


def test_a_throttle(clock: ManualClock) -> None:
    class Once(RateLimitThrottle):
        limits = ("1/minute",)
        scope = "once"
        key = "ip"

    class Page(APIView):
        authentication_classes: Any = ()
        permission_classes: Any = ()
        throttle_classes: Any = (Once,)

        def get(self, _request: Any) -> Response:
            clock.advance(17)
            return Response()

    with override_settings(RATELIMIT_KIT={"rules": [], "store": MemoryStore(clock=clock)}):
        site_policy.cache_clear()
        assert Page.as_view()(APIRequestFactory().get("/"))["RateLimit"] == '"throttle.once";r=0;t=43'
    site_policy.cache_clear()


@pytest.mark.parametrize("make", [MemoryStore, RedisStore, MemcachedStore], ids=lambda one: one.__name__)
def test_durations_are_told_by_a_clock_that_nobody_sets_unless_a_test_has_its_own(
    make: Any, clock: ManualClock
) -> None:
    address = {RedisStore: ("redis://127.0.0.1:1",), MemcachedStore: ("memcached://127.0.0.1:1",)}.get(make, ())
    assert make(*address).elapsed_clock is time.monotonic_ns
    assert make(*address, clock=clock).elapsed_clock is clock
