"""Fixtures for pytest, which loads this file automatically if the library is installed.

ratelimits_disabled   nothing is limited during the test
ratelimits_reset      the test begins with all counters of the memory stores reset
ratelimits_clock      a ManualClock that the memory stores follow: `ratelimits_clock.advance(60)`
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from ratelimit_kit.testing import ManualClock


@pytest.fixture
def ratelimits_disabled() -> Iterator[None]:
    """Nothing is limited or counted during the test."""
    from ratelimit_kit.testing import disabled

    with disabled():
        yield


@pytest.fixture
def ratelimits_reset() -> None:
    """The test begins with all counters of the memory stores reset."""
    from ratelimit_kit.testing import reset_all

    reset_all()


@pytest.fixture
def ratelimits_clock() -> Iterator[ManualClock]:
    """A clock that the memory stores follow, and that moves only when told to."""
    from ratelimit_kit.testing import manual_time

    with manual_time() as clock:
        yield clock
