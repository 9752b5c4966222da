"""What a front door has to do with a request, as one neutral value: let it pass, or send a denial.

Of a request that passes the door shows the response to `finish` (or `afinish`), which gives back
what does not count and returns the fields to add.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from ratelimit_kit.core.decision import Decision, Verdict
from ratelimit_kit.gate import Gate
from ratelimit_kit.stores import Charge
from ratelimit_kit.web.calls import acalled, called
from ratelimit_kit.web.counting import Counts
from ratelimit_kit.web.headers import Header, Item, to_add
from ratelimit_kit.web.request import Headers, Response


class Reserved(NamedTuple):
    """Charges that are given back unless the response counts; `first` is the place of their items in the answer."""

    counts: Counts
    charges: Sequence[Charge]
    decision: Decision
    first: int | None


class Answer:
    """What a front door has to do: send this denial, or let the application answer and then `finish`.

    `touches` tells whether the application's response has to be shown to `finish` at all.
    """

    __slots__ = ()
    denied = False
    touches = False
    status = 0
    reason = ""
    headers: list[Header] = []  # noqa: RUF012 - nobody adds to it
    body = b""
    reserved: Sequence[Reserved] = ()

    def finish(self, response: Response) -> list[Header]:  # noqa: ARG002 - there is nothing to do
        """Give back what this response does not count; the fields to add to it."""
        return []

    async def afinish(self, response: Response) -> list[Header]:  # noqa: ARG002 - there is nothing to do
        """Do what `finish` does."""
        return []

    def settle(self) -> None:
        """Give nothing back any more: what counts is decided."""

    def fail(self) -> None:
        """Take note that the application raised: that counts as a response with status 500."""
        self.finish(Response(500, Headers(list)))

    async def afail(self) -> None:
        """Do what `fail` does."""
        await self.afinish(Response(500, Headers(list)))


class DirectAnswer(Answer):
    """The front door answers by itself, with this status, these fields and this body."""

    __slots__ = ("body", "headers", "reason", "status")
    denied = True

    def __init__(self, status: int, reason: str, headers: list[Header], body: bytes) -> None:
        self.status = status
        self.reason = reason
        self.headers = headers
        self.body = body


class Admission(Answer):
    """The application answers; its response gets the fields of `items`, and may give back what is `reserved`."""

    __slots__ = ("_exposed", "_fields", "_gate", "items", "reserved")
    touches = True

    def __init__(
        self,
        items: list[Item],
        fields: Callable[[Sequence[Item]], list[Header]],
        gate: Gate,
        reserved: list[Reserved],
        exposed: bool,  # noqa: FBT001 - one of its few makers
    ) -> None:
        self.items = items
        self.reserved = reserved
        self._fields = fields
        self._gate = gate
        self._exposed = exposed

    def finish(self, response: Response) -> list[Header]:
        """Give back what this response does not count; the fields to add to it."""
        for one in self.reserved:
            if not called(one.counts, response):
                self._gate.refund(one.charges, one.decision)
                self._give_back(one)
        return to_add(self._fields(self.items), response, exposed=self._exposed) if self.items else []

    async def afinish(self, response: Response) -> list[Header]:
        """Do what `finish` does."""
        for one in self.reserved:
            if not await acalled(one.counts, response):
                await self._gate.arefund(one.charges, one.decision)
                self._give_back(one)
        return to_add(self._fields(self.items), response, exposed=self._exposed) if self.items else []

    def settle(self) -> None:
        """Give nothing back any more: what counts is decided."""
        self.reserved = []

    def _give_back(self, one: Reserved) -> None:
        """Let the fields say what is left after the refund."""
        if one.first is None:
            return
        for at, charge in enumerate(one.charges, start=one.first):
            name, before = self.items[at]
            left = min(before.limit.most, before.remaining + charge.cost)
            self.items[at] = name, Verdict(True, before.limit, left, 0, before.reset)


PASS = Answer()
"""The answer to a request that nothing limits."""
