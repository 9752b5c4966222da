"""Detects limits that never take effect because another limit of the same rule always denies first.

"1000/hour; 10/minute" admits at most about 600 per hour, so the first limit is a mistake: nobody can
ever reach it. Only cases beyond doubt are reported.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from ratelimit_kit.core.durations import MICROSECONDS
from ratelimit_kit.core.fixed_window import FixedWindow
from ratelimit_kit.core.limit import Limit
from ratelimit_kit.core.sliding_window import SlidingWindow
from ratelimit_kit.core.token_bucket import TokenBucket
from ratelimit_kit.errors import LooseFallbackWarning, UnreachableLimitError


def unreachable(limits: Sequence[Limit], where: str) -> list[UnreachableLimitError]:
    """One error for each limit that never denies because another one of the same rule always does so first."""
    errors = []
    for index, limit in enumerate(limits):
        for other in (*limits[:index], *limits[index + 1 :]):
            if _hides(other, limit) and not (limits.index(other) > index and _hides(limit, other)):
                one, before = (str(limit), str(other)) if str(limit) != str(other) else (repr(limit), repr(other))
                errors.append(
                    UnreachableLimitError(
                        f"{where}: the limit {one} can never refuse anything, because {before} always refuses first. "
                        f"Remove {one}, or correct one of the two"
                    )
                )
                break
    return errors


def loose_fallback(fallback: Sequence[Limit], limits: Sequence[Limit], where: str) -> list[LooseFallbackWarning]:
    """A warning if each of the limits of a fallback admits all that one which it replaces admits, and more."""
    if not fallback or not all(any(_is_looser(one, limit) for limit in limits) for one in fallback):
        return []
    instead, own = ("; ".join(map(str, some)) for some in (fallback, limits))
    return [
        LooseFallbackWarning(
            f"{where}: the fallback {instead} admits more than the limit {own}, so an outage would loosen it. Give the rule a "
            "stricter fallback, or fallback=[] to keep its own limits"
        )
    ]


def _is_looser(one: Limit, limit: Limit) -> bool:
    if not limit.limit:
        return one.limit > 0
    return _hides(limit, one) and not _hides(one, limit)


def _hides(other: Limit, limit: Limit) -> bool:
    """Whether `limit` would admit everything that `other` admits; one of 0 is meant to close what others leave open."""
    if not other.limit:
        return False
    if isinstance(limit, TokenBucket):
        at_once, rate = _shape(other)
        return at_once <= limit.burst and rate <= Fraction(limit.rate, limit.unit)
    if isinstance(limit, SlidingWindow):
        lateness = limit.granule if limit.limit > limit.resolution else 0
        return _admitted(other, limit.window + lateness) <= limit.limit
    assert isinstance(limit, FixedWindow)
    if isinstance(other, FixedWindow) and (other.per, other.tz, other.anchor) == (limit.per, limit.tz, limit.anchor):
        return other.limit <= limit.limit
    return _admitted(other, limit.max_lifetime) <= limit.limit


def _admitted(limit: Limit, span: int) -> Fraction:
    """The most that a limit admits in any `span` (microseconds)."""
    if isinstance(limit, TokenBucket):
        return limit.burst + span * Fraction(limit.rate, limit.unit)
    if isinstance(limit, SlidingWindow):
        return Fraction(limit.limit * -(-span // limit.window))
    assert isinstance(limit, FixedWindow)
    return Fraction(limit.limit * (span // (limit.span.shortest * MICROSECONDS) + 2))


def _shape(limit: Limit) -> tuple[Fraction, Fraction]:
    """A burst and a rate (units per microsecond) that bound a limit: any span admits at most burst + rate * span."""
    if isinstance(limit, TokenBucket):
        return Fraction(limit.burst), Fraction(limit.rate, limit.unit)
    if isinstance(limit, SlidingWindow):
        return Fraction(limit.limit), Fraction(limit.limit, limit.window)
    assert isinstance(limit, FixedWindow)
    return Fraction(2 * limit.limit), Fraction(limit.limit, limit.span.shortest * MICROSECONDS)
