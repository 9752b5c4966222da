"""The sync and the async API of a store as plain calls, so that a test is written once for both."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Self

from ratelimit_kit.core.decision import Verdict
from ratelimit_kit.stores import Charge, Store


class API:
    """One API of a store, as plain calls."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Release what the API needed."""

    def decide(self, charges: Sequence[Charge]) -> Sequence[Verdict]:
        """Decide."""
        return list(self.store.decide(charges))

    def refund(self, charges: Sequence[Charge], charged_at: int | None = None) -> None:
        """Refund."""
        self.store.refund(charges, charged_at)

    def reset(self, charges: Sequence[Charge]) -> None:
        """Reset."""
        self.store.reset(charges)


class Sync(API):
    """The sync API."""


class Async(API):
    """The async API, in an event loop of its own."""

    def __enter__(self) -> Self:
        self._runner = asyncio.Runner()
        return self

    def __exit__(self, *_: object) -> None:
        self._runner.run(self.store.aclose())
        self._runner.close()

    def decide(self, charges: Sequence[Charge]) -> Sequence[Verdict]:
        """Decide."""
        return list(self._runner.run(self.store.adecide(charges)))

    def refund(self, charges: Sequence[Charge], charged_at: int | None = None) -> None:
        """Refund."""
        self._runner.run(self.store.arefund(charges, charged_at))

    def reset(self, charges: Sequence[Charge]) -> None:
        """Reset."""
        self._runner.run(self.store.areset(charges))
