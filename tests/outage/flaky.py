"""A store that can be made to fail, and a clock for the pauses between two tries."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from ratelimit_kit import Charge, MemoryStore, Scope, guarded_store
from ratelimit_kit.errors import StoreContendedError, StoreError, StoreFullError, StoreUnavailableError
from ratelimit_kit.outage import breaker, outages

DOWN = StoreUnavailableError("the store is away")
FULL = StoreFullError("the store is full")
BUSY = StoreContendedError("the store is busy")
ODD = StoreError("one key holds something else")

ALIVE = [FULL, BUSY, ODD]
"""What a store says that is no outage."""

Forward = Callable[[float], None]


class Flaky(MemoryStore):
    """A shared store that can be made to fail; counts its calls."""

    scope = Scope.SHARED

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.error: Exception | None = None
        self.asked = 0

    def decide(self, charges: Sequence[Charge]) -> Any:
        self.asked += 1
        if self.error is not None:
            raise self.error
        return super().decide(charges)


def stop_the_clock(monkeypatch: pytest.MonkeyPatch) -> Forward:
    """Let the time of pauses pass only when the function that this returns is called."""
    now = [100.0]

    class Time:
        monotonic = staticmethod(lambda: now[0])
        perf_counter = staticmethod(time.perf_counter)

    for module in (breaker, outages, guarded_store):
        monkeypatch.setattr(module, "time", Time)

    def forward(seconds: float) -> None:
        now[0] += seconds

    return forward
