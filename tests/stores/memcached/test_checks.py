"""The statistics that a Memcached server reports, and which of them are worth a warning."""

from __future__ import annotations

import time
from typing import Any

import pytest

from ratelimit_kit.errors import ClockOffsetWarning, EvictionWarning
from ratelimit_kit.stores.memcached.checks import facts, warnings


def stats(*, ahead: float = 0, evictions: int = 0) -> dict[str, dict[str, str]]:
    one = {"time": str(int(time.time() + ahead)), "evictions": str(evictions), "version": "1.6.18"}
    return {"127.0.0.1:11211": one}


def found(**differences: Any) -> list[Any]:
    return list(warnings(stats(**differences)))


@pytest.mark.parametrize(("ahead", "words"), [(60, "60 s ahead of"), (-60, "60 s behind")])
def test_a_clock_that_differs_is_told(ahead: float, words: str) -> None:
    (warning,) = found(ahead=ahead)
    assert isinstance(warning, ClockOffsetWarning)
    assert words in str(warning)


def test_items_that_were_thrown_away_are_told() -> None:
    (warning,) = found(evictions=3)
    assert isinstance(warning, EvictionWarning)
    assert "evicted 3 items" in str(warning)


def test_a_server_that_is_well_is_not_mentioned() -> None:
    assert found() == []


def test_a_statistic_that_is_missing_or_no_number_breaks_nothing() -> None:
    odd = {"a": {"version": "1.6.18", "evictions": "many"}, "b": {"time": "9" * 30}}
    assert facts(odd)["evictions"] == 0
    assert facts(odd)["server"] == "memcached 1.6.18, memcached of an unknown version (2 servers)"
    assert [type(one) for one in warnings({"a": odd["a"]})] == []
