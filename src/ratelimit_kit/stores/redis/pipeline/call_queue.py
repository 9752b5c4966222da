"""The calls of one event loop that wait to be sent: decisions with the same limits and costs together, and commands.

A call waits for its deadline at most. A task that was cancelled before its call was taken is not charged.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from time import monotonic
from typing import Any

from ratelimit_kit.core.decision import Decision
from ratelimit_kit.stores import Charge
from ratelimit_kit.stores.redis.calls.library_calls import Read
from ratelimit_kit.stores.redis.calls.shapes import Shape
from ratelimit_kit.stores.redis.failures import Failures
from ratelimit_kit.stores.redis.pipeline.exchange import Batch, Call, Command, Exchange

MAX_BATCH_SIZE = 128
"""Maximum number of calls in a batch: the server is busy with it for some 0.3 ms, while this process handles others."""


class CallQueue:
    """The waiting calls of an event loop, in the order in which they came as far as they are not batched."""

    def __init__(self, loop: asyncio.AbstractEventLoop, failures: Failures) -> None:
        self._loop = loop
        self._failures = failures
        self._decisions: dict[Shape, deque[Call]] = {}
        self._commands: deque[Command] = deque()

    def __bool__(self) -> bool:
        return bool(self._decisions or self._commands)

    def add(self, shape: Shape, charges: Sequence[Charge], since: float) -> tuple[asyncio.Future[Decision], int]:
        """Add a decision, waiting since that time; returns its future, and how many such decisions wait."""
        decision: asyncio.Future[Decision] = asyncio.Future(loop=self._loop)
        calls = self._decisions.get(shape)
        if calls is None:
            calls = self._decisions[shape] = deque()
        calls.append((charges, decision, since))
        return decision, len(calls)

    def add_command(self, packed: Callable[..., bytes], read: Read) -> asyncio.Future[Any]:
        """Add a command, `packed(by_name=...)`; its future gets what is read from the reply."""
        reply: asyncio.Future[Any] = asyncio.Future(loop=self._loop)
        self._commands.append(Command(packed, read, reply, monotonic()))
        return reply

    def take(self) -> Exchange | None:
        """The next command, or a batch of the decisions that have waited longest; None if it was cancelled."""
        if self._commands:
            command = self._commands.popleft()
            return None if command.future.done() else command
        shape = next(iter(self._decisions))
        waiting = self._decisions.pop(shape)
        calls: list[Call] = []
        while waiting and len(calls) < MAX_BATCH_SIZE:
            call = waiting.popleft()
            if not call[1].done():
                calls.append(call)
        if waiting:
            self._decisions[shape] = waiting
        return Batch(shape, calls) if calls else None

    def expire(self, *, connected: bool) -> float | None:
        """Fail the calls whose deadline has passed; return when the next one's passes, in seconds from now."""
        now = monotonic()
        over = now - self._failures.timeout
        for calls in self._decisions.values():
            while calls and calls[0][2] <= over:
                decision = calls.popleft()[1]
                if not decision.done():
                    decision.set_exception(self._failures.unsent(connected=connected))
        while self._commands and self._commands[0].since <= over:
            self._commands.popleft().fail(lambda: self._failures.unsent(connected=connected))
        self._decisions = {shape: calls for shape, calls in self._decisions.items() if calls}
        oldest = [calls[0][2] for calls in self._decisions.values()] + [one.since for one in self._commands]
        return min(oldest) - over if oldest else None

    def clear(self) -> Iterator[asyncio.Future[Any]]:
        """Empty the queue; its pending futures."""
        decisions, self._decisions = self._decisions, {}
        commands, self._commands = self._commands, deque()
        futures = [call[1] for calls in decisions.values() for call in calls] + [one.future for one in commands]
        return (future for future in futures if not future.done())
