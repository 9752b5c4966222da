"""Charges whose keys are in several slots of a cluster, which no single script call can change.

They are decided slot by slot; if a later slot denies, the earlier charges are refunded by the timestamps
they were charged with. A concurrent request may be denied meanwhile, but none is admitted beyond a
limit. A decision is a generator of steps, which `carry_out` and its async twin execute.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Sequence
from typing import Any, NamedTuple

from redis.crc import key_slot

from ratelimit_kit.core.decision import Verdict
from ratelimit_kit.errors import StoreError
from ratelimit_kit.stores import Charge
from ratelimit_kit.stores.redis.calls.replies import TimedDecision


class Ask(NamedTuple):
    """Decide charges of one slot, or only peek; the result is the server's time and the verdicts, or a StoreError."""

    charges: Sequence[Charge]
    peek: bool = False


class GiveBack(NamedTuple):
    """Refund charges of one slot that were made at `charged_at`; the result is None or a StoreError."""

    charges: Sequence[Charge]
    charged_at: int


Conversation = Generator[Ask | GiveBack, Any, Sequence[Verdict]]


def by_slot(charges: Sequence[Charge], keys: Sequence[str]) -> list[list[Charge]]:
    """The charges grouped by slot."""
    slots: dict[int, list[Charge]] = {}
    for charge, key in zip(charges, keys, strict=True):
        slots.setdefault(key_slot(key.encode()), []).append(charge)
    return list(slots.values())


def deciding(charges: Sequence[Charge], parts: Sequence[Sequence[Charge]]) -> Conversation:
    """Decide one slot after the other; on a denial or failure, refund what was charged.

    A slot that fails, also while it is refunded, fails the whole decision: `on_outage` applies.
    """
    found: dict[Charge, Verdict] = {}
    charged: list[GiveBack] = []
    for part in parts:
        answer = yield Ask(part)
        failed = [answer] if isinstance(answer, StoreError) else []
        if not failed:
            time, verdicts = answer
            found.update(zip(part, verdicts, strict=True))
        if failed or not all(verdict.allowed for verdict in verdicts):
            for refund in charged:
                answer = yield refund
                failed += [answer] if isinstance(answer, StoreError) else []
            if failed:
                raise failed[0]
            yield from _peek_others(parts, part, found)
            break
        charged.append(GiveBack([charge for charge in part if charge.cost], time))
    return [found[charge] for charge in charges]


def _peek_others(
    parts: Sequence[Sequence[Charge]], refused: Sequence[Charge], found: dict[Charge, Verdict]
) -> Generator[Ask, Any, None]:
    """After a denial, peek at the other slots without charging them, and add their verdicts to `found`."""
    for part in parts:
        if part is refused:
            continue
        answer = yield Ask(part, peek=True)
        if isinstance(answer, StoreError):
            raise answer
        found.update(zip(part, answer[1], strict=True))


class Steps(NamedTuple):
    """How a store takes the steps of a conversation, in the sync and in the async API."""

    decide: Callable[..., TimedDecision]
    adecide: Callable[..., Awaitable[TimedDecision]]
    refund: Callable[[Sequence[Charge], int | None], None]
    arefund: Callable[[Sequence[Charge], int | None], Awaitable[None]]

    def step(self, step: Ask | GiveBack) -> Any:
        """Execute a step and return its result."""
        if isinstance(step, Ask):
            decision = self.decide(step.charges, peek=step.peek)
            return decision.time, decision.verdicts
        return self.refund(step.charges, step.charged_at)

    async def astep(self, step: Ask | GiveBack) -> Any:
        """Do what `step` does."""
        if isinstance(step, Ask):
            decision = await self.adecide(step.charges, peek=step.peek)
            return decision.time, decision.verdicts
        return await self.arefund(step.charges, step.charged_at)


def carry_out(conversation: Conversation, steps: Steps) -> Sequence[Verdict]:
    """Execute one step after the other; the result of a failed step is its StoreError."""
    answer: Any = None
    while True:
        try:
            step = conversation.send(answer)
        except StopIteration as end:
            verdicts: Sequence[Verdict] = end.value
            return verdicts
        try:
            answer = steps.step(step)
        except StoreError as error:
            answer = error


async def acarry_out(conversation: Conversation, steps: Steps) -> Sequence[Verdict]:
    """Do what `carry_out` does."""
    answer: Any = None
    while True:
        try:
            step = conversation.send(answer)
        except StopIteration as end:
            verdicts: Sequence[Verdict] = end.value
            return verdicts
        try:
            answer = await steps.astep(step)
        except StoreError as error:
            answer = error
