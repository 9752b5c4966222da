from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.processes import Process, RedisServer, memcached_server, redis_server

settings.register_profile("default", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("default")


@pytest.fixture(autouse=True)
def _nothing_was_logged_just_now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ratelimit_kit.observe.logging._last", {})


@pytest.fixture(scope="session")
def redis() -> Iterator[RedisServer]:
    """One redis-server for all live tests; each takes a database of its own from `redis.url()`."""
    with redis_server() as server:
        yield server


@pytest.fixture(scope="session")
def memcached() -> Iterator[Process]:
    """One memcached for all live tests; each uses a prefix or keys of its own."""
    with memcached_server() as server:
        yield server
