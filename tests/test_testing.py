"""The testing helpers, used as in users' tests."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from ratelimit_kit import Limiter, MemoryStore, Policy, Rule, Scope, ratelimit
from ratelimit_kit.asgi import RateLimitMiddleware
from ratelimit_kit.testing import ManualClock, disabled, manual_time, reset_all


def page(_: Any) -> PlainTextResponse:
    return PlainTextResponse("Hello")


def client() -> TestClient:
    app = Starlette(routes=[Route("/", page)])
    app.add_middleware(RateLimitMiddleware, policy=Policy(Rule("1/minute")))
    return TestClient(app)


def statuses(site: TestClient, count: int) -> list[int]:
    return [site.get("/").status_code for _ in range(count)]


def test_disabled_limits_nothing_and_counts_nothing() -> None:
    limiter = Limiter("1/minute")
    limited = ratelimit("1/minute")(lambda: "called")
    site = client()
    with disabled():
        assert statuses(site, 3) == [200, 200, 200]
        assert all(limiter.hit("key") for _ in range(3))
        assert asyncio.run(limiter.ahit("key")).remaining == 1
        assert [limited() for _ in range(3)] == ["called"] * 3
    assert statuses(site, 2) == [200, 429]
    assert [bool(limiter.hit("key")) for _ in range(2)] == [True, False]


@disabled()
def test_disabled_is_a_decorator_too() -> None:
    assert statuses(client(), 3) == [200, 200, 200]


def test_reset_all_forgets_everything() -> None:
    site = client()
    assert statuses(site, 2) == [200, 429]
    reset_all()
    assert statuses(site, 2) == [200, 429]


def test_a_store_that_cannot_forget_is_an_error() -> None:
    with pytest.raises(TypeError, match="cannot be cleared"):
        reset_all(object())  # type: ignore[arg-type]


def test_time_by_hand() -> None:
    site = client()
    own = MemoryStore(clock=ManualClock())
    with manual_time() as clock:
        late = Limiter("1/minute")
        assert statuses(site, 2) == [200, 429]
        assert [bool(late.hit("key")), bool(late.hit("key"))] == [True, False]
        clock.advance(59.999999)
        assert (statuses(site, 1), bool(late.hit("key"))) == ([429], False)
        clock.advance(0.000001)
        assert (statuses(site, 1), bool(late.hit("key"))) == ([200], True)
    assert statuses(site, 2) == [200, 429]
    assert len(own) == 0


def test_the_fixtures_are_found_by_pytest(ratelimits_clock: ManualClock, ratelimits_reset: None) -> None:
    site = client()
    assert statuses(site, 2) == [200, 429]
    ratelimits_clock.advance(60)
    assert statuses(site, 1) == [200]


def test_the_fixture_that_disables(ratelimits_disabled: None) -> None:
    assert statuses(client(), 3) == [200, 200, 200]


def test_a_store_of_ones_own_with_a_method_clear_is_cleared() -> None:
    class Own:
        """The ten methods of a store, and `clear`."""

        scope = Scope.SHARED

        def __init__(self) -> None:
            self.inner = MemoryStore()

        def __getattr__(self, name: str) -> Any:
            return getattr(self.inner, name)

    limiter = Limiter("1/minute", store=Own())
    assert [limiter.hit("key").allowed for _ in range(2)] == [True, False]
    reset_all(limiter.store)
    assert limiter.hit("key")
