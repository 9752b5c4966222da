"""The facts a Memcached server reports, and which of them are worth a warning."""

from __future__ import annotations

import time
from typing import Any

import pytest

from ratelimit_kit import MemcachedStore
from ratelimit_kit.errors import ClockOffsetWarning, EvictionWarning


def found(monkeypatch: pytest.MonkeyPatch, *, ahead: float = 0, evictions: int = 0) -> list[Any]:
    store = MemcachedStore("memcached://127.0.0.1:11299")
    stats = {b"time": int(time.time() + ahead), b"evictions": evictions, b"version": b"1.6.18"}
    monkeypatch.setattr(store._servers, "_call", lambda *_: stats)
    return list(store.examine())


@pytest.mark.parametrize(("ahead", "words"), [(60, "60 s ahead of"), (-60, "60 s behind")])
def test_a_clock_that_differs_is_told(monkeypatch: pytest.MonkeyPatch, ahead: float, words: str) -> None:
    (warning,) = found(monkeypatch, ahead=ahead)
    assert isinstance(warning, ClockOffsetWarning)
    assert words in str(warning)


def test_items_that_were_thrown_away_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    (warning,) = found(monkeypatch, evictions=3)
    assert isinstance(warning, EvictionWarning)
    assert "evicted 3 items" in str(warning)


def test_a_server_that_is_well_is_not_mentioned(monkeypatch: pytest.MonkeyPatch) -> None:
    assert found(monkeypatch) == []
