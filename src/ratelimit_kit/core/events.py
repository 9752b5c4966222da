"""Values for observers: events for operators, and decisions for metrics; `observe` delivers them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from ratelimit_kit.core.decision import Decision, Verdict

Outcome = Literal["allowed", "denied", "shadow-denied"]


@dataclass(frozen=True, slots=True)
class Event:
    """Something that an operator should know about.

    `name` is stable ("memory-overflow"), `message` is a sentence for people, and `facts` holds the same for
    machines. Keys and secrets never appear in an event.
    """

    name: str
    message: str
    level: int
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Decided:
    """One decision of one rule, for metrics.

    `policy` is the name of a policy or a limiter, `store` the class of its store; `seconds` is the time that
    the store took, None for all but the first rule of one store call. `cached` is true if the denial came from
    the denial cache, without a store call; `near` if less than a tenth of the quota is left.
    """

    policy: str
    rule: str
    outcome: Outcome
    degraded: bool
    cached: bool
    near: bool
    store: str
    seconds: float | None

    @classmethod
    def of(
        cls,
        names: tuple[str, str, str],
        decision: Decision,
        verdicts: Sequence[Verdict],
        seconds: float | None,
        *,
        shadow: bool = False,
    ) -> Decided:
        """The value for one rule, with its `verdicts` of `decision`; `names` are policy, rule and store class."""
        policy, rule, store = names
        allowed = all(verdict.allowed for verdict in verdicts)
        near = any(verdict.remaining * 10 < verdict.limit.max_cost for verdict in verdicts)
        return cls(
            policy=policy,
            rule=rule,
            outcome="allowed" if allowed else "shadow-denied" if shadow else "denied",
            degraded=decision.degraded,
            cached=decision.cached,
            near=near and not decision.degraded,
            store=store,
            seconds=seconds,
        )


Listener = Callable[[Event], None]


def unheard(event: Event) -> None:
    """The default listener, which ignores every event."""
