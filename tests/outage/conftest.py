from __future__ import annotations

import pytest

from tests.outage.flaky import Flaky, Forward, stop_the_clock


@pytest.fixture
def store() -> Flaky:
    return Flaky()


@pytest.fixture
def wait(monkeypatch: pytest.MonkeyPatch) -> Forward:
    return stop_the_clock(monkeypatch)
