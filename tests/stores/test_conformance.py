"""Every store that needs no server passes the public conformance suite."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fakeredis
import pytest

from ratelimit_kit import MemoryStore, RedisStore, SlidingWindow, Store
from ratelimit_kit.testing import ManualClock, StoreConformance
from ratelimit_kit.testing.sync_async import Sync
from tests.processes import EXAMPLES

Clock = Callable[[], int]

ROUNDS = 20 if os.environ.get("CI") else 2
"""How often the concurrency tests are repeated: each round starts a hundred threads."""


class TestMemory(StoreConformance):
    rounds = ROUNDS

    def make_store(self, clock: Clock) -> Store:
        return MemoryStore(clock=clock)


class TestFakeRedis(StoreConformance):
    rounds = ROUNDS
    programs = 5

    def make_store(self, clock: Clock) -> Store:
        server = fakeredis.FakeServer()
        clients = {"client": fakeredis.FakeRedis(server=server), "async_client": _Lasting(server)}
        clients["client"].ping()  # two concurrent first connections may each get a separate database
        return RedisStore(**clients, clock=clock, timeout=10)


class _Lasting:
    """A fake asyncio client that works on any event loop: a real one belongs to its loop."""

    def __init__(self, server: fakeredis.FakeServer) -> None:
        self._server = server

    def __getattr__(self, name: str) -> Any:
        return getattr(fakeredis.FakeAsyncRedis(server=self._server), name)


class TestSQLiteExample(StoreConformance):
    rounds = ROUNDS
    programs = 5

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.folder = tmp_path
        self.made = 0

    def make_store(self, clock: Clock) -> Store:
        self.made += 1
        store: Store = sqlite_store(self.folder / f"{self.made}.db", clock=clock)
        return store


def sqlite_store(path: Path, **options: Any) -> Any:
    """The store of the example, which is no module of the package."""
    spec = importlib.util.spec_from_file_location("sqlite_store", EXAMPLES / "sqlite_store.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.SQLiteStore(path, **options)


class Generous(MemoryStore):
    """A store that drops every fifth charge."""

    asked = 0

    def decide(self, charges: Any) -> Any:
        self.asked += 1
        return super().decide([charge._replace(cost=0) for charge in charges] if self.asked % 5 == 0 else charges)


def test_a_store_that_is_wrong_does_not_pass() -> None:
    class Wrong(StoreConformance):
        def make_store(self, clock: Clock) -> Store:
            return Generous(clock=clock)

    suite = Wrong()
    with pytest.raises(AssertionError, match="expected"):
        suite.test_it_admits_the_limit_and_no_more(SlidingWindow(5, per=60), Sync)
    with pytest.raises(AssertionError, match="the decision for"):
        suite.test_the_same_programs_get_the_same_answers(Sync)
    with pytest.raises(AssertionError, match="admissions"):
        suite.test_threads_admit_exactly_the_limit(SlidingWindow(5, per=60))


def test_a_suite_without_a_store_says_what_to_write() -> None:
    with pytest.raises(NotImplementedError, match="write make_store"):
        StoreConformance().make_store(ManualClock())
