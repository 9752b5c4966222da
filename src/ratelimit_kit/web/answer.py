"""What a front door has to do with a request, as one neutral value: let it pass, or send a denial.

Of a request that passes the door shows the response to `finish` (or `afinish`), which gives back
what does not count and returns the fields to add.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
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


@dataclass(slots=True)
class Answer:
    """What a front door has to do: send this denial, or let the application answer and then `finish`.

    `status` is 0 when the request may pass; `headers` and `body` are those of the denial. `touches` tells
    whether the application's response has to be shown to `finish` at all.
    """

    headers: list[Header] = field(default_factory=list)
    status: int = 0
    reason: str = ""
    body: bytes = b""
    items: list[Item] = field(default_factory=list)
    fields: Callable[[Sequence[Item]], list[Header]] = lambda _: []
    exposed: bool = False
    gate: Gate | None = None
    reserved: Sequence[Reserved] = ()

    @property
    def denied(self) -> bool:
        """Whether the front door answers by itself."""
        return self.status != 0

    @property
    def touches(self) -> bool:
        """Whether the response has to be seen, for its fields or for what it gives back."""
        return bool(self.items or self.reserved)

    def finish(self, response: Response) -> list[Header]:
        """Give back what this response does not count; the fields to add to it."""
        for one in self.reserved:
            if self.gate is not None and not called(one.counts, response):
                self.gate.refund(one.charges, one.decision)
                self._give_back(one)
        return self._to_add(response)

    async def afinish(self, response: Response) -> list[Header]:
        """Do what `finish` does."""
        for one in self.reserved:
            if self.gate is not None and not await acalled(one.counts, response):
                await self.gate.arefund(one.charges, one.decision)
                self._give_back(one)
        return self._to_add(response)

    def fail(self) -> None:
        """Take note that the application raised: that counts as a response with status 500."""
        self.finish(Response(500, Headers(list)))

    async def afail(self) -> None:
        """Do what `fail` does."""
        await self.afinish(Response(500, Headers(list)))

    def _give_back(self, one: Reserved) -> None:
        """Let the fields say what is left after the refund."""
        if one.first is None:
            return
        for at, charge in enumerate(one.charges, start=one.first):
            name, before = self.items[at]
            left = min(before.limit.most, before.remaining + charge.cost)
            self.items[at] = name, Verdict(True, before.limit, left, 0, before.reset)

    def _to_add(self, response: Response) -> list[Header]:
        if not self.items:
            return []
        return to_add(self.fields(self.items), response, exposed=self.exposed)


PASS = Answer()
"""The answer to a request that nothing limits."""
