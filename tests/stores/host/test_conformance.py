"""The host store passes the public conformance suite."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from ratelimit_kit import HostStore, Store
from ratelimit_kit.testing import StoreConformance

numbers = itertools.count()


class TestHost(StoreConformance):
    """A file for each store, so that it starts empty; a busy machine needs a longer deadline."""

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.folder = tmp_path

    def make_store(self, clock: Callable[[], int]) -> Store:
        return HostStore(path=self.folder / f"limits-{next(numbers)}", clock=clock, timeout=10)
