"""Endpoints and dependencies that yield: FastAPI makes their generators on its event loop."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from importlib.util import find_spec
from typing import Any

import pytest
from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.responses import StreamingResponse
from starlette.testclient import TestClient

import ratelimit_kit
from ratelimit_kit import BaseStore, Charge, LimitExceeded, MemoryStore, Policy, Rule, Scope, Verdict
from ratelimit_kit.fastapi import install, ratelimit

Decorate = Callable[[Any], Any]

streams = pytest.mark.skipif(find_spec("fastapi.sse") is None, reason="this FastAPI has no endpoints that yield")


class Blocking(BaseStore):
    """A store whose sync API must not be used on an event loop."""

    scope = Scope.SHARED
    blocking = True

    def __init__(self) -> None:
        self.inner = MemoryStore()

    def decide(self, charges: Sequence[Charge]) -> Sequence[Verdict]:
        if any(charge.cost for charge in charges):  # not the trial at the start
            with pytest.raises(RuntimeError):
                asyncio.get_running_loop()
        return self.inner.decide(charges)

    def refund(self, charges: Sequence[Charge], charged_at: int | None = None) -> None:
        self.inner.refund(charges, charged_at)

    def reset(self, charges: Sequence[Charge]) -> None:
        self.inner.reset(charges)


def site() -> FastAPI:
    app = FastAPI()
    install(app, Policy(Rule("9/minute", name="site"), store=Blocking()))
    return app


def answers(app: FastAPI, path: str, count: int, **options: Any) -> list[Any]:
    with TestClient(app) as client:
        return [client.get(path, **options) for _ in range(count)]


async def akey(request: Any) -> str:
    await asyncio.sleep(0)
    return str(request.headers.get("x-key", ""))


def key(request: Any) -> str:
    return str(request.headers.get("x-key", ""))


def numbers(decorate: Decorate) -> Any:
    @decorate
    def endpoint(first: int = 1) -> Iterator[int]:
        """Count."""
        yield first
        yield first + 1

    return endpoint


def anumbers(decorate: Decorate) -> Any:
    @decorate
    async def endpoint(request: Request, first: int = 1) -> AsyncIterator[int]:
        """Count."""
        assert request.url.path == "/"
        yield first
        yield first + 1

    return endpoint


@streams
@pytest.mark.parametrize("key", [key, akey], ids=["key", "async key"])
@pytest.mark.parametrize("make", [numbers, anumbers])
def test_an_endpoint_that_yields_is_refused_before_its_response_begins(make: Any, key: Any) -> None:
    app = site()
    app.get("/")(make(ratelimit("2/minute", key=key)))
    found = answers(app, "/?first=5", 3)
    assert [one.status_code for one in found] == [200, 200, 429]
    assert found[0].text.split() == ["5", "6"]
    assert found[1].headers["RateLimit"].startswith('"limit";r=0')
    assert found[2].headers["content-type"] == "application/problem+json"
    assert answers(app, "/", 1, headers={"x-key": "another"})[0].status_code == 200


@streams
@pytest.mark.parametrize("make", [numbers, anumbers])
def test_two_decorators_and_another_way_to_stream(make: Any) -> None:
    app = site()

    def as_text(endpoint: Any) -> Any:
        return endpoint

    limited = ratelimit("3/minute", name="outer")(ratelimit("2/minute", name="inner")(make(as_text)))
    assert inspect.isgeneratorfunction(limited) or inspect.isasyncgenfunction(limited)
    app.get("/")(limited)
    assert [one.status_code for one in answers(app, "/", 3)] == [200, 200, 429]
    schema = app.openapi()["paths"]["/"]["get"]
    assert [one["name"] for one in schema["parameters"]] == ["first"]
    assert schema["description"] == "Count."

    @app.get("/raw", response_class=StreamingResponse)
    @ratelimit("1/minute")
    def raw() -> Iterator[str]:
        yield "text"

    found = answers(app, "/raw", 2)
    assert [(one.status_code, one.text[:4]) for one in found] == [(200, "text"), (429, '{"ty')]


def resource(decorate: Decorate, ends: list[str]) -> Any:
    @decorate
    def opened() -> Iterator[str]:
        try:
            yield "it"
        except HTTPException:
            ends.append("failed")
            raise
        finally:
            ends.append("closed")

    return opened


def aresource(decorate: Decorate, ends: list[str]) -> Any:
    @decorate
    async def opened() -> AsyncIterator[str]:
        try:
            yield "it"
        except HTTPException:
            ends.append("failed")
            raise
        finally:
            ends.append("closed")

    return opened


@pytest.mark.parametrize("key", [key, akey], ids=["key", "async key"])
@pytest.mark.parametrize("make", [resource, aresource])
def test_a_dependency_that_yields_is_refused_before_it_begins_and_hears_of_its_endpoint(make: Any, key: Any) -> None:
    app, ends = site(), []
    opened = make(ratelimit("2/minute", key=key), ends)

    @app.get("/", dependencies=[Depends(opened)])
    async def endpoint(fail: bool = False) -> None:
        if fail:
            raise HTTPException(418)

    with TestClient(app) as client:
        assert [client.get(path).status_code for path in ("/", "/?fail=1", "/")] == [200, 418, 429]
    assert ends == ["closed", "failed", "closed"]


@pytest.mark.parametrize("make", [resource, aresource])
def test_the_decorator_of_functions_does_not_block_the_event_loop_of_a_dependency(make: Any) -> None:
    ends: list[str] = []
    opened = make(ratelimit_kit.ratelimit("1/minute", key="all", store=Blocking()), ends)
    app = FastAPI()

    @app.get("/", dependencies=[Depends(opened)])
    async def endpoint() -> None: ...

    with TestClient(app) as client:
        assert client.get("/").status_code == 200
        with pytest.raises(LimitExceeded):
            client.get("/")
    assert ends == ["closed"]
