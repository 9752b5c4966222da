"""What travels to Redis in one command, and whom its reply is for: a batch of decisions, or a command of one caller."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from typing import Any

from ratelimit_kit.core.decision import Decision
from ratelimit_kit.stores import Charge
from ratelimit_kit.stores.redis.replies import check_decisions, decisions, other_window
from ratelimit_kit.stores.redis.scripts import PackedArguments, Script, encode_call

Call = tuple[Sequence[str], Sequence[Charge], "asyncio.Future[Decision]", float]
"""Keys, charges, the future of the caller, and since when it waits (monotonic seconds)."""


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

    def encode(self, script: Script) -> bytes:
        """The packed command; `script` is the deciding one."""
        raise NotImplementedError

    def succeed(self, reply: Any) -> int | None:
        """Give each caller its part of the reply, or return the server's time where it decided nothing.

        Raises InvalidReply for what is no reply to this command.
        """
        raise NotImplementedError

    def fail(self, error: Callable[[], Exception]) -> None:
        """Fail every caller; a store error is an object of each one's own."""
        self.expire(math.inf, error)

    def expire(self, moment: float, error: Callable[[], Exception]) -> None:
        """Fail the callers that have waited since `moment` or longer."""
        raise NotImplementedError


class Batch(Exchange):
    """Decisions that travel together, and the arguments sent with their keys."""

    __slots__ = ("arguments", "calls")

    def __init__(self, calls: Sequence[Call], arguments: PackedArguments) -> None:
        super().__init__(calls[0][3])
        self.calls = calls
        self.arguments = arguments

    def encode(self, script: Script) -> bytes:
        """One call of the deciding script for all of them."""
        keys = [key for call in self.calls for key in call[0]]
        if len(self.calls) == 1:
            return encode_call(script, keys, self.arguments, by_name=self.by_name)
        return encode_call(script, keys, self.arguments, many=len(self.calls[0][0]), by_name=self.by_name)

    def succeed(self, reply: Any) -> int | None:
        """Give each caller its decision."""
        charges = self.calls[0][1]
        check_decisions(charges, len(self.calls), reply)
        if (moment := other_window(reply)) is not None:
            return moment
        _, found = decisions(charges, reply, many=len(self.calls) > 1)
        for (_, _, future, _), decision in zip(self.calls, found, strict=True):
            if not future.done():
                future.set_result(decision)
        return None

    def expire(self, moment: float, error: Callable[[], Exception]) -> None:
        """Fail the callers that have waited since `moment` or longer."""
        for _, _, future, since in self.calls:
            if since <= moment and not future.done():
                future.set_exception(error())
        self.since = min([since for *_, since in self.calls if since > moment], default=math.inf)


class Command(Exchange):
    """A command of one caller; `packed(by_name=...)` is its text, `check` raises InvalidReply for what is no reply."""

    __slots__ = ("_check", "_packed", "future")

    def __init__(
        self, packed: Callable[..., bytes], check: Callable[[Any], None], future: asyncio.Future[Any], since: float
    ) -> None:
        super().__init__(since)
        self._packed = packed
        self._check = check
        self.future = future

    def encode(self, script: Script) -> bytes:  # noqa: ARG002 - it has its own
        """The packed command."""
        return self._packed(by_name=self.by_name)

    def succeed(self, reply: Any) -> int | None:
        """Give the caller the reply."""
        self._check(reply)
        if not self.future.done():
            self.future.set_result(reply)
        return None

    def expire(self, moment: float, error: Callable[[], Exception]) -> None:
        """Fail the caller if it has waited since `moment` or longer."""
        if self.since <= moment:
            self.since = math.inf
            if not self.future.done():
                self.future.set_exception(error())
