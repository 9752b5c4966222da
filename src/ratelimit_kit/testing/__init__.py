"""Helpers for tests: limits off, counters reset, a manual clock, and the suite that every store must pass.

`fixtures.py` offers the first three to pytest.
"""

from __future__ import annotations

from ratelimit_kit.testing.clock import ManualClock
from ratelimit_kit.testing.conformance import StoreConformance
from ratelimit_kit.testing.switches import disabled, manual_time, reset_all

__all__ = ["ManualClock", "StoreConformance", "disabled", "manual_time", "reset_all"]
