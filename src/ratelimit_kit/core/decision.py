"""What a caller learns: one Verdict per limit, and the Decision over all of them.

This is the one place where the core's integer microseconds become seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ratelimit_kit.core.limits import Limit

MICROSECONDS = 1_000_000
"""Microseconds in a second."""


class Look(NamedTuple):
    """What an algorithm sees in a state, without changing it.

    `wait` is the time until the asked cost fits; a cost of 0 always fits, and `wait` then
    speaks of one unit.
    """

    fits: bool
    remaining: int
    wait: int
    reset: int


@dataclass(slots=True)
class Verdict:
    """What one limit says: whether the charge fits it, and what is left of it.

    `wait` and `reset` are integer microseconds, for stores; read `retry_after` and
    `reset_after`. After an admission, and for a peek, `wait` is the time until one more unit fits.
    `stamp` is the store's time of the decision (microseconds of the limit's clock), for exact refunds.
    """

    allowed: bool
    limit: Limit
    remaining: int
    wait: int
    reset: int
    stamp: int = field(default=0, compare=False)

    @property
    def retry_after(self) -> float:
        """Seconds until the refused charge would fit; 0.0 when it was admitted."""
        return 0.0 if self.allowed else self.wait / MICROSECONDS

    @property
    def reset_after(self) -> float:
        """Seconds until nothing of this charge or any earlier one is remembered."""
        return self.reset / MICROSECONDS

    @property
    def next_after(self) -> float:
        """Seconds until one more unit (or the refused cost) fits; 0.0 when it fits now."""
        return self.wait / MICROSECONDS


@dataclass(slots=True, eq=False)
class Decision:
    """The answer for one hit: true when every limit admits it.

    `verdicts` holds one Verdict per limit, in the order in which they were given; `degraded` is
    true when an outage policy answered instead of the store.
    """

    verdicts: Sequence[Verdict]
    degraded: bool = False

    @property
    def allowed(self) -> bool:
        """Whether the hit was admitted, by every limit."""
        return all(verdict.allowed for verdict in self.verdicts)

    def __bool__(self) -> bool:
        return self.allowed

    @property
    def binding(self) -> Verdict:
        """The verdict that decides: the longest wait of a denial, else the least that is left."""
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
        """Seconds until the same hit would be admitted; 0.0 when it was."""
        return self.binding.retry_after

    @property
    def reset_after(self) -> float:
        """Seconds until the binding limit has forgotten every hit."""
        return self.binding.reset_after

    def __repr__(self) -> str:
        word = "allowed" if self.allowed else "denied"
        mark = ", degraded" if self.degraded else ""
        return (
            f"<Decision {word}{mark}: {self.remaining} left of {self.limit}, "
            f"retry after {self.retry_after:g} s, reset after {self.reset_after:g} s>"
        )
