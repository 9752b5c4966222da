from __future__ import annotations

from collections.abc import Iterator
from functools import wraps
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from ratelimit_kit import MemoryStore, RedisStore
from ratelimit_kit.guarded_store import GuardedStore
from tests.processes import Process, RedisServer, memcached_server, redis_server

SWITCHES: dict[str, tuple[Any, str]] = {
    "denials": (GuardedStore, "deny_cache"),
    "batching": (RedisStore, "batching"),
    "memory": (MemoryStore, "fast_path"),
}
"""The fast paths, and the option that switches each off."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--without", action="append", default=[], choices=sorted(SWITCHES), help="switch a fast path off in all tests"
    )


def pytest_configure(config: pytest.Config) -> None:
    for name in config.getoption("--without"):
        _switch_off(*SWITCHES[name])


def _switch_off(kind: Any, option: str) -> None:
    build = kind.__init__

    @wraps(build)
    def without(self: Any, *arguments: Any, **options: Any) -> None:
        build(self, *arguments, **{**options, option: False})

    kind.__init__ = without


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is about a fast path that is switched off."""
    off = set(config.getoption("--without"))
    about = [item for item in items if off & {word for mark in item.iter_markers("about") for word in mark.args}]
    config.hook.pytest_deselected(items=about)
    items[:] = [item for item in items if item not in about]


settings.register_profile("default", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("default")


@pytest.fixture(autouse=True)
def _nothing_was_logged_just_now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ratelimit_kit.observe.log._last", {})


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
