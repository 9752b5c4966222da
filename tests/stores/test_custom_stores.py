"""Stores that users write: what is wrong with one is said when it meets a limiter, not at a request."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from ratelimit_kit import BaseStore, Limiter, MemoryStore, Scope
from ratelimit_kit.errors import ConfigurationError, OptionError, RateLimitKitError, StoreURLError
from tests.stores.test_conformance import sqlite_store


class Complete(BaseStore):
    """All that a store must have, and no more."""

    scope = Scope.SHARED

    def decide(self, charges: Any) -> Any:
        return []

    def refund(self, charges: Any, charged_at: int | None = None) -> None: ...

    def reset(self, charges: Any) -> None: ...


class OfText(MemoryStore):
    scope: Any = "process"


class WithoutScope(BaseStore):
    decide = Complete.decide
    refund = Complete.refund
    reset = Complete.reset


class WithoutReset(BaseStore):
    scope = Scope.SHARED
    decide = Complete.decide
    refund = Complete.refund


class Asynchronous(Complete):
    async def decide(self, charges: Any) -> Any:
        return []


@pytest.mark.parametrize(
    ("store", "error", "hint"),
    [
        (MemoryStore, StoreURLError, r"is a class, not a store: write store=MemoryStore\(...\)"),
        (object(), StoreURLError, "an object of type object is not a store"),
        (OfText(), OptionError, "OfText.scope must be a Scope, got 'process'"),
        (WithoutScope(), OptionError, "WithoutScope does not say who shares its counters"),
        (WithoutReset(), OptionError, "WithoutReset has no method reset"),
        (Asynchronous(), OptionError, "Asynchronous.decide is a coroutine function: call it adecide"),
    ],
)
def test_what_is_no_store_is_refused_at_once(store: Any, error: type[RateLimitKitError], hint: str) -> None:
    with pytest.raises(error, match=hint):
        Limiter("5/minute", store=store)


async def test_a_store_that_forgets_a_verdict_admits_nobody() -> None:
    limiter = Limiter("5/minute", store=Complete())
    with pytest.raises(ConfigurationError, match="returned 0 for 1"):
        limiter.hit("key")
    with pytest.raises(ConfigurationError, match="returned 0 for 1"):
        await limiter.ahit("key")


def test_a_process_of_its_own_is_guarded_whatever_the_class() -> None:
    class Own(Complete):
        scope = Scope.PROCESS

    with pytest.raises(RateLimitKitError, match="RLK201"):
        Limiter("5/minute", store=Own(), workers=4)


def test_the_sqlite_example_fails_as_a_store_does(tmp_path: Path) -> None:
    folder = tmp_path / "gone"
    folder.mkdir()
    limiter = Limiter("5/minute", store=sqlite_store(folder / "counters.db"), on_outage="allow")
    assert not limiter.hit("key").degraded
    limiter.close()
    shutil.rmtree(folder)
    assert limiter.hit("key").degraded


def test_the_sqlite_example_forgets_what_has_expired(tmp_path: Path) -> None:
    now = [1_800_000_000 * 10**9]
    store = sqlite_store(tmp_path / "counters.db", clock=lambda: now[0])
    limiter = Limiter("5/second", store=store)
    for number in range(20):
        limiter.hit(f"key {number}")
    now[0] += 120 * 10**9
    limiter.hit("another")
    assert store._connection().execute("SELECT count(*) FROM counters").fetchone() == (1,)
    limiter.close()
