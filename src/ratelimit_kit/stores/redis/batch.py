"""Decisions that travel in one script call: the same limits and costs, each over keys of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from ratelimit_kit.core.decision import Decision
from ratelimit_kit.errors import StoreError
from ratelimit_kit.stores import Charge
from ratelimit_kit.stores.redis.replies import decisions
from ratelimit_kit.stores.redis.scripts import Script, Words, call_of

Call = tuple[Sequence[str], Sequence[Charge], "asyncio.Future[Decision]", float]
"""Keys, charges, who waits, and since when."""


class Batch:
    """Calls that travel together, what is sent with their keys, and until when (the loop's time) an answer is awaited."""

    __slots__ = ("arguments", "by_name", "calls", "deadline", "late")

    def __init__(self, calls: Sequence[Call], arguments: Words, deadline: float) -> None:
        self.calls = calls
        self.arguments = arguments
        self.deadline = deadline
        self.late = False
        self.by_name = True

    def packed(self, script: Script) -> bytes:
        """The one script call for them all."""
        keys = [key for call in self.calls for key in call[0]]
        if len(self.calls) == 1:
            return call_of(script, keys, self.arguments, by_name=self.by_name)
        return call_of(script, keys, self.arguments, many=len(self.calls[0][0]), by_name=self.by_name)

    def answered(self, answer: Any) -> None:
        """Give each caller his part of the answer."""
        _, found = decisions(self.calls[0][1], answer)
        for (_, _, future, _), decision in zip(self.calls, found, strict=True):
            if not future.done():
                future.set_result(decision)

    def failed(self, error: Callable[[], StoreError]) -> None:
        """Tell every caller, each with an error of his own."""
        for _, _, future, _ in self.calls:
            if not future.done():
                future.set_exception(error())
