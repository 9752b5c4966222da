"""What travels to Redis in one command, and whom its reply is for: a batch of decisions, or a command of one caller."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from typing import Any

from ratelimit_kit.core.decision import Decision
from ratelimit_kit.stores import Charge
from ratelimit_kit.stores.redis.calls.library_calls import Read
from ratelimit_kit.stores.redis.calls.shapes import Shape

Call = tuple[Sequence[Charge], "asyncio.Future[Decision]", float]
"""Charges, the future of the caller, and since when it waits (monotonic seconds)."""


class Exchange:
    """What travels in one command, and who waits for its reply; a reply that nobody waits for any more is ignored.

    `since` is when the first of them began to wait, `sent` when it was sent (monotonic seconds), `late` whether the
    event loop was too late to see a reply in time, `by_name` whether a script is called by its name.
    """

    __slots__ = ("by_name", "late", "sent", "since")

    def __init__(self, since: float) -> None:
        self.by_name = True
        self.late = False
        self.sent = 0.0
        self.since = since

    def encode(self) -> bytes:
        """The packed command."""
        raise NotImplementedError

    def succeed(self, reply: Any) -> bool:
        """Give each caller its part of the reply; False if the command has to be sent again, as nothing was decided.

        Raises InvalidReply for what is no reply to this command.
        """
        raise NotImplementedError

    def parts(self) -> Sequence[Exchange]:
        """The same as several commands, one for each caller who still waits; none if it is one already."""
        return ()

    def fail(self, error: Callable[[], Exception]) -> None:
        """Fail every caller; a store error is an object of each one's own."""
        self.expire(math.inf, error)

    def expire(self, moment: float, error: Callable[[], Exception]) -> None:
        """Fail the callers that have waited since `moment` or longer."""
        raise NotImplementedError


class Batch(Exchange):
    """Decisions of one shape that travel together."""

    __slots__ = ("calls", "shape")

    def __init__(self, shape: Shape, calls: Sequence[Call]) -> None:
        super().__init__(calls[0][2])
        self.shape = shape
        self.calls = calls

    def encode(self) -> bytes:
        """One call of the deciding script for all of them."""
        return self.shape.encode_batch([charges for charges, _, _ in self.calls], by_name=self.by_name)

    def succeed(self, reply: Any) -> bool:
        """Give each caller its decision."""
        found = self.shape.read_batch(self.calls[0][0], len(self.calls), reply)
        if isinstance(found, int):
            self.shape.follow(found)
            return False
        for (_, future, _), decision in zip(self.calls, found, strict=True):
            if not future.done():
                future.set_result(decision)
        return True

    def parts(self) -> Sequence[Exchange]:
        """Each decision by itself."""
        waiting = [call for call in self.calls if not call[1].done()]
        return [Batch(self.shape, [call]) for call in waiting] if len(self.calls) > 1 else ()

    def expire(self, moment: float, error: Callable[[], Exception]) -> None:
        """Fail the callers that have waited since `moment` or longer."""
        for _, future, since in self.calls:
            if since <= moment and not future.done():
                future.set_exception(error())
        self.since = min([since for *_, since in self.calls if since > moment], default=math.inf)


class Command(Exchange):
    """A command of one caller; `packed(by_name=...)` is its text, `read` turns the reply into the result."""

    __slots__ = ("_packed", "_read", "future")

    def __init__(self, packed: Callable[..., bytes], read: Read, future: asyncio.Future[Any], since: float) -> None:
        super().__init__(since)
        self._packed = packed
        self._read = read
        self.future = future

    def encode(self) -> bytes:
        """The packed command."""
        return self._packed(by_name=self.by_name)

    def succeed(self, reply: Any) -> bool:
        """Give the caller the result."""
        result = self._read(reply)
        if not self.future.done():
            self.future.set_result(result)
        return True

    def expire(self, moment: float, error: Callable[[], Exception]) -> None:
        """Fail the caller if it has waited since `moment` or longer."""
        if self.since <= moment:
            self.since = math.inf
            if not self.future.done():
                self.future.set_exception(error())
