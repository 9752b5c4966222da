"""What an integration has to do with a request, independent of the framework: let it pass, or send a denial.

If a request passes, the integration hands the response to `finish` (or `afinish`), which refunds what does not count
and returns the fields to add. If the response may still be replaced, as in WSGI until its first byte, the integration
calls `judge` for the fields of each response, and `give_back` after the last.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from ratelimit_kit.core.decision import Decision, Verdict
from ratelimit_kit.guarded_store import GuardedStore
from ratelimit_kit.stores import Charge
from ratelimit_kit.web.callables import acalled, called
from ratelimit_kit.web.http.messages import Header, Headers, Response
from ratelimit_kit.web.response.headers import Aged, Family, Item, to_add
from ratelimit_kit.web.rules.counting import Counts


class PendingRefund(NamedTuple):
    """Charges that are refunded unless the response counts; `first` is the index of their first item in the result."""

    counts: Counts
    charges: Sequence[Charge]
    decision: Decision
    first: int | None


class Shown:
    """The items of one decision and their age, for a response; `current` is what is left of them after refunds."""

    __slots__ = ("_clock", "_given_at", "current", "items")

    def __init__(self, items: Sequence[Item], clock: Callable[[], int]) -> None:
        self.items = self.current = items
        self._clock = clock
        self._given_at = clock()

    def age(self) -> int:
        """Microseconds since the decision."""
        age = (self._clock() - self._given_at) // 1000
        return max(0, age)


class ShownTogether:
    """All decisions about one request, for a family that shows only one limit, and the fields `written` so far."""

    __slots__ = ("_decisions", "written")

    def __init__(self) -> None:
        self._decisions: list[Shown] = []
        self.written: dict[str, str] = {}

    def beside(self, shown: Shown) -> list[Aged]:
        """The verdicts of all other decisions; this one is added to them."""
        if shown not in self._decisions:
            self._decisions.append(shown)
        others = [one for one in self._decisions if one is not shown]
        return [Aged(verdict, one.age()) for one in others for name, verdict in one.current if name]


class CheckResult:
    """What an integration has to do: send this denial, or let the application respond and then call `finish`.

    `touches` tells whether `finish` needs the application's response at all.
    """

    __slots__ = ()
    denied = False
    touches = False
    status = 0
    reason = ""
    headers: list[Header] = []  # noqa: RUF012 - never modified
    body = b""
    pending: Sequence[PendingRefund] = ()

    @property
    def limit_fields(self) -> list[Header]:
        """The fields of a refusal that belong on a response of the application's own too: those not about the body."""
        return [
            (name, value)
            for name, value in self.headers
            if not name.lower().startswith("content-") and name.lower() != "vary"
        ]

    def judge(self, response: Response) -> list[Header]:  # noqa: ARG002 - there is nothing to do
        """Determine what this response does not count, and return the fields to add to it."""
        return []

    async def ajudge(self, response: Response) -> list[Header]:  # noqa: ARG002 - there is nothing to do
        """Do what `judge` does."""
        return []

    def give_back(self) -> None:
        """Refund what the most recently judged response does not count; this is final."""

    async def agive_back(self) -> None:
        """Do what `give_back` does."""

    def finish(self, response: Response) -> list[Header]:
        """Judge a response that is final, refund what it does not count, and return the fields to add to it."""
        fields = self.judge(response)
        self.give_back()
        return fields

    async def afinish(self, response: Response) -> list[Header]:
        """Do what `finish` does."""
        fields = await self.ajudge(response)
        await self.agive_back()
        return fields

    def fail(self) -> None:
        """Handle an exception of the application, which counts as a response with status 500."""
        self.finish(Response(500, Headers(list)))

    async def afail(self) -> None:
        """Do what `fail` does."""
        await self.afinish(Response(500, Headers(list)))


class DirectResponse(CheckResult):
    """A response that the integration sends itself, with this status, these fields and this body."""

    __slots__ = ("body", "headers", "reason", "status")
    denied = True

    def __init__(self, status: int, reason: str, headers: list[Header], body: bytes) -> None:
        self.status = status
        self.reason = reason
        self.headers = headers
        self.body = body


class Passed(CheckResult):
    """The application responds; its response gets the fields of `shown`, and decides whether to refund `pending`."""

    __slots__ = ("_exposed", "_fields", "_returned", "_shown", "_store", "_together", "pending")
    touches = True

    def __init__(
        self,
        shown: Shown,
        fields: Family,
        store: GuardedStore,
        pending: list[PendingRefund],
        exposed: bool,  # noqa: FBT001 - few callers
        together: ShownTogether | None = None,
    ) -> None:
        self._shown = shown
        self._together = together
        self.pending = pending
        self._fields = fields
        self._store = store
        self._exposed = exposed
        self._returned: Sequence[PendingRefund] = ()

    def judge(self, response: Response) -> list[Header]:
        """Determine what this response does not count, and return the fields to add, as after that refund."""
        if self.pending:
            self._returned = [one for one in self.pending if not called(one.counts, response)]
        return self._told(response)

    async def ajudge(self, response: Response) -> list[Header]:
        """Do what `judge` does."""
        if self.pending:
            self._returned = [one for one in self.pending if not await acalled(one.counts, response)]
        return self._told(response)

    def give_back(self) -> None:
        """Refund what the most recently judged response does not count; this is final."""
        returned, self._returned, self.pending = self._returned, (), []
        for one in returned:
            self._store.refund(one.charges, one.decision)

    async def agive_back(self) -> None:
        """Do what `give_back` does."""
        returned, self._returned, self.pending = self._returned, (), []
        for one in returned:
            await self._store.arefund(one.charges, one.decision)

    def _told(self, response: Response) -> list[Header]:
        """The fields to add, with what is left after the refunds."""
        shown, together = self._shown, self._together
        if not shown.items:
            return []
        shown.current = shown.items
        if self._returned:
            shown.current = items = list(shown.items)
            for one in self._returned:
                _give_back(items, one)
        if together is None:
            return to_add(self._fields(shown.current, shown.age(), ()), response, exposed=self._exposed)
        fields = self._fields(shown.current, shown.age(), together.beside(shown))
        added = to_add(fields, response, exposed=self._exposed, written=together.written)
        together.written.update(added)
        return added


def _give_back(items: list[Item], one: PendingRefund) -> None:
    """Update the items to what is left after a refund."""
    if one.first is None:
        return
    for at, charge in enumerate(one.charges, start=one.first):
        name, before = items[at]
        left = min(before.limit.max_cost, before.remaining + charge.cost)
        items[at] = name, Verdict(True, before.limit, left, 0, before.reset)


PASS = CheckResult()
"""The result for a request that nothing limits."""
