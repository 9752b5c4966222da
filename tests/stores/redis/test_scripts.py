"""The Redis store on fakeredis: fast tests, but never the only ones (see tests/live/stores/test_redis.py)."""

from __future__ import annotations

from typing import Any

import fakeredis
import pytest
import redis
from hypothesis import given, settings

from ratelimit_kit import Charge, Limiter, RedisStore, SlidingWindow
from ratelimit_kit.errors import (
    ConfigurationError,
    OptionError,
    StoreContendedError,
    StoreUnavailableError,
    StoreURLError,
)
from ratelimit_kit.stores import open_store
from ratelimit_kit.stores.redis.failures import Failures
from ratelimit_kit.testing import ManualClock
from ratelimit_kit.testing.model import Model
from tests.stores.programs import WIDTHS, around, programs_of_wrong_clocks, run


@given(programs_of_wrong_clocks)
@settings(max_examples=60)
def test_lua_answers_as_python_does_on_fakeredis(program: list[tuple[str, Any]]) -> None:
    clock = ManualClock(start=1_800_000_000)
    store = RedisStore(client=fakeredis.FakeRedis(server=fakeredis.FakeServer()), clock=clock)
    run(program, clock, Model(clock), store)


@pytest.mark.parametrize("limit", WIDTHS, ids=str)
def test_kept_bytes_tell_apart_what_lies_within_a_window(limit: SlidingWindow) -> None:
    clock = ManualClock(start=1_800_000_000)
    store = RedisStore(client=fakeredis.FakeRedis(server=fakeredis.FakeServer()), clock=clock)
    run(around(limit), clock, Model(clock), store)


def test_a_failing_server_is_a_store_error() -> None:
    server = fakeredis.FakeServer()
    store = RedisStore(client=fakeredis.FakeRedis(server=server))
    limiter = Limiter("5/minute", store=store)
    assert limiter.hit("key")
    server.connected = False
    with pytest.raises(StoreUnavailableError, match="RLK301"):
        limiter.hit("key")


async def test_async_and_sync_count_together() -> None:
    server = fakeredis.FakeServer()
    store = RedisStore(client=fakeredis.FakeRedis(server=server), async_client=fakeredis.FakeAsyncRedis(server=server))
    limiter = Limiter("2/minute", store=store)
    assert limiter.hit("key")
    assert await limiter.ahit("key")
    assert not limiter.hit("key")
    assert not await limiter.ahit("key")


def test_each_api_needs_its_client() -> None:
    store = RedisStore(async_client=fakeredis.FakeAsyncRedis())
    with pytest.raises(ConfigurationError, match="only an async_client"):
        store.decide([Charge("key", SlidingWindow(5, per=60))])


async def test_the_async_api_needs_its_client_too() -> None:
    store = RedisStore(client=fakeredis.FakeRedis())
    with pytest.raises(ConfigurationError, match="only a sync client"):
        await store.adecide([Charge("key", SlidingWindow(5, per=60))])


@pytest.mark.parametrize("options", [{}, {"url": "redis://localhost", "client": object()}])
def test_a_url_or_clients(options: dict[str, Any]) -> None:
    with pytest.raises(OptionError, match=r"either a URL .* or clients"):
        RedisStore(**options)


@pytest.mark.parametrize("timeout", [0, -1, 61, True, "1", None])
def test_the_deadline_is_a_number_of_seconds(timeout: Any) -> None:
    with pytest.raises(OptionError, match="timeout must be"):
        RedisStore("redis://localhost", timeout=timeout)


@pytest.mark.parametrize(
    ("url", "hint"),
    [
        ("redis", "did you mean 'redis://'"),
        ("reddis://localhost", "did you mean 'redis://'"),
        ("redis://localhost:port/0", "host 1 is not a host with a port"),
        ("memory://somewhere", "takes no address"),
        ("", "is not a store URL"),
        (42, "is not a store or a store URL"),
    ],
)
def test_a_url_that_names_no_store_is_an_error(url: Any, hint: str) -> None:
    with pytest.raises(StoreURLError, match="RLK104") as caught:
        open_store(url)
    assert hint in str(caught.value)


def test_a_server_that_takes_no_more_connections_is_busy_and_not_away() -> None:
    failures = Failures("RedisStore(...)", 0.25, clustered=False)
    full = failures.meaning(redis.ConnectionError("max number of clients reached"))
    assert isinstance(full, StoreContendedError)
    assert "Raise maxclients" in str(full)
