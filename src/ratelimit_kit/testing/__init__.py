"""Help for tests: a clock that moves only when told to, and the suite that every store has to pass."""

from __future__ import annotations

from ratelimit_kit.testing.clock import ManualClock
from ratelimit_kit.testing.conformance import StoreConformance

__all__ = ["ManualClock", "StoreConformance"]
