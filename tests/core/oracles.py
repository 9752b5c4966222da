"""Exact models of the three limits: slow, unbounded, and written from the specification, not from the code."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from fractions import Fraction
from math import ceil, floor
from typing import ClassVar


class WindowOracle:
    """Remembers every hit forever."""

    def __init__(self, limit: int, window: int) -> None:
        self.limit = limit
        self.window = window
        self.hits: list[tuple[int, int]] = []

    def used(self, now: int) -> int:
        return sum(cost for at, cost in self.hits if at > now - self.window)

    def remaining(self, now: int) -> int:
        return self.limit - self.used(now)

    def admit(self, now: int, cost: int) -> bool:
        if self.used(now) + cost > self.limit:
            return False
        if cost:
            self.hits.append((now, cost))
        return True

    def fullest(self) -> int:
        """The most units in any window; checking the windows that start at a hit is enough."""
        return max(
            (sum(cost for at, cost in self.hits if start <= at < start + self.window) for start, _ in self.hits),
            default=0,
        )


class BucketOracle:
    """Keeps its tokens as a fraction."""

    def __init__(self, limit: int, window: int, burst: int) -> None:
        self.speed = Fraction(limit, window)
        self.burst = burst
        self.tokens = Fraction(burst)
        self.at = 0

    def _refill(self, now: int) -> None:
        self.tokens = min(Fraction(self.burst), self.tokens + (now - self.at) * self.speed)
        self.at = now

    def remaining(self, now: int) -> int:
        self._refill(now)
        return floor(self.tokens)

    def admit(self, now: int, cost: int) -> bool:
        self._refill(now)
        if self.tokens < cost:
            return False
        self.tokens -= cost
        return True

    def wait(self, now: int, cost: int) -> int:
        self._refill(now)
        return max(0, ceil((cost - self.tokens) / self.speed))


class CalendarOracle:
    """Counts per calendar window, by its name."""

    FORMATS: ClassVar = {
        "minute": "%Y-%m-%d %H:%M",
        "hour": "%Y-%m-%d %H",
        "day": "%Y-%m-%d",
        "week": "%G-%V",
        "month": "%Y-%m",
    }

    def __init__(self, limit: int, period: str) -> None:
        self.limit = limit
        self.format = self.FORMATS[period]
        self.counts: dict[str, int] = {}

    def _name(self, now: int) -> str:
        return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=now)).strftime(self.format)

    def remaining(self, now: int) -> int:
        return self.limit - self.counts.get(self._name(now), 0)

    def admit(self, now: int, cost: int) -> bool:
        name = self._name(now)
        if self.counts.get(name, 0) + cost > self.limit:
            return False
        self.counts[name] = self.counts.get(name, 0) + cost
        return True
