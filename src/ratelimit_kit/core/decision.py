"""The result of a hit: one Verdict per limit, and the Decision over all of them.

This is the only place where the core's integer microseconds become seconds.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from ratelimit_kit.core.durations import MICROSECONDS
from ratelimit_kit.core.limit import FOREVER, MAX_LIMIT, UNLIMITED, Limit
from ratelimit_kit.errors import ConfigurationError

Basis = tuple[Any, Any, int, int]
"""What a Verdict is computed from on demand: the limit, a state, the time in microseconds, and the cost to peek for
(0 after an admission)."""


@dataclass(slots=True)
class Verdict:
    """The result for one limit: whether the charge fits, and what is left.

    `wait` and `reset` are integer microseconds, for stores; read `retry_after` and
    `reset_after`. After an admission, and for a peek, `wait` is the time until one more unit fits.
    `charged_at` is the store's time of the decision (microseconds of the limit's clock), for exact refunds.
    """

    allowed: bool
    limit: Limit
    remaining: int
    wait: int
    reset: int
    charged_at: int = field(default=0, compare=False)

    @property
    def retry_after(self) -> float:
        """Seconds until the denied charge would fit; 0.0 if it was admitted, infinity under a limit of 0."""
        return 0.0 if self.allowed else self.next_after

    @property
    def reset_after(self) -> float:
        """Seconds until this charge and all earlier ones have expired."""
        return self.reset / MICROSECONDS

    @property
    def next_after(self) -> float:
        """Seconds until one more unit (or the denied cost) fits; 0.0 if it fits now."""
        return self.wait / MICROSECONDS if self.wait < FOREVER else math.inf


class Decision:
    """The decision for one hit: true if every limit admits it.

    `verdicts` holds one Verdict per limit, in the order in which they were given (a decision is also a sequence of
    them). `degraded` is true if an outage policy decided instead of the store, `cached` if the denial came from the
    denial cache: then the verdicts of limits that did not deny are those of the cached call, or have remaining 0 if
    they were not part of it.
    """

    __slots__ = ("_verdicts", "allowed", "cached", "degraded")

    allowed: bool
    degraded: bool
    cached: bool

    def __init__(self, verdicts: Sequence[Verdict], degraded: bool = False, cached: bool = False) -> None:  # noqa: FBT001, FBT002 - two plain flags
        self._verdicts = verdicts
        self.allowed = all([verdict.allowed for verdict in verdicts])  # noqa: C419 - a list is faster for so few
        self.degraded = degraded
        self.cached = cached

    def __bool__(self) -> bool:
        return self.allowed

    def __len__(self) -> int:
        return len(self.verdicts)

    def __getitem__(self, index: Any) -> Any:
        return self.verdicts[index]

    def __iter__(self) -> Iterator[Verdict]:
        return iter(self.verdicts)

    def __reduce__(self) -> tuple[Any, ...]:
        return Decision, (list(self.verdicts), self.degraded, self.cached)

    @property
    def verdicts(self) -> Sequence[Verdict]:
        """One Verdict per limit, in the order given."""
        return self._verdicts

    @property
    def binding(self) -> Verdict:
        """The verdict that decides: the denial with the longest wait, else the limit with the least left.

        Without any limit it is one of UNLIMITED, with as much left as the largest limit has.
        """
        if len(self.verdicts) == 1:
            return self.verdicts[0]
        if not self.verdicts:
            return Verdict(True, cast("Limit", UNLIMITED), MAX_LIMIT, 0, 0)
        return max(
            self.verdicts,
            key=lambda verdict: (not verdict.allowed, verdict.wait, -verdict.remaining, verdict.reset),
        )

    @property
    def limit(self) -> Limit:
        """The binding limit."""
        return self.binding.limit

    @property
    def remaining(self) -> int:
        """Units left under the binding limit."""
        return self.binding.remaining

    @property
    def retry_after(self) -> float:
        """Seconds until the same hit would be admitted; 0.0 if it was."""
        return self.binding.retry_after

    @property
    def reset_after(self) -> float:
        """Seconds until the binding limit is fully reset."""
        return self.binding.reset_after

    def __repr__(self) -> str:
        word = "allowed" if self.allowed else "denied"
        mark = ", degraded" if self.degraded else ""
        if not self.verdicts:
            return f"<Decision {word}{mark}: unlimited>"
        return (
            f"<Decision {word}{mark}: {self.remaining} left of {self.limit}, "
            f"retry after {self.retry_after:g} s, reset after {self.reset_after:g} s>"
        )


def as_decision(reply: Sequence[Verdict], charges: Sequence[Any]) -> Decision:
    """A store's reply to these charges as a Decision; ConfigurationError unless it has one Verdict for each."""
    if len(reply) != len(charges):
        raise ConfigurationError(
            f"a store's decide must return one Verdict for each charge, in order: it returned {len(reply)} for {len(charges)}"
        )
    return Decision(reply)


class LazyDecision(Decision):
    """A Decision whose verdicts are computed from `basis` on first use; most callers never need them.

    Each source has a pair of subclasses, one that is allowed and one that is denied.
    """

    __slots__ = ("basis",)
    allowed = True
    degraded = False
    cached = False

    basis: Any

    if TYPE_CHECKING:

        def __init__(self) -> None: ...

    else:
        __init__ = object.__init__  # nothing to initialize, and this is the fastest way to skip it

    @property
    def verdicts(self) -> Sequence[Verdict]:
        """One Verdict per limit, in the order given."""
        try:
            return self._verdicts
        except AttributeError:
            self._verdicts = self._compute()
            return self._verdicts

    def _compute(self) -> Sequence[Verdict]:
        raise NotImplementedError


class StateAllowed(LazyDecision):
    """An admission by one limit, computed from its state: `basis` is a Basis."""

    __slots__ = ()

    def _compute(self) -> Sequence[Verdict]:
        return [verdict_of(self.allowed, *self.basis)]


class StateDenied(StateAllowed):
    """A denial by one limit."""

    __slots__ = ()
    allowed = False


class StatesAllowed(LazyDecision):
    """An admission by several limits: `basis` has a Basis for each."""

    __slots__ = ()

    def _compute(self) -> Sequence[Verdict]:
        return [verdict_of(True, *one) for one in self.basis]


def verdict_of(allowed: bool, limit: Any, state: Any, now: int, wanted: int) -> Verdict:  # noqa: FBT001 - a field
    """The verdict of a limit, computed from its state after the decision; all arguments but the first are a Basis."""
    _, remaining, wait, reset = limit.peek(state, now, wanted)
    if allowed and state[limit.last_at] > now:  # the clock was set back
        now = state[limit.last_at]
    return Verdict(allowed, limit, remaining, wait, reset, now)
