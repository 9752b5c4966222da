"""Measures what the algorithms admit, on a clock that is moved by hand; writes the table of the accuracy page.

    python -m scripts.measure_accuracy docs/explanation/accuracy-table.md

Three kinds of traffic ask for one key under 100 a minute for two hours: a greedy client that asks every
20 ms, a bursty one that sends 150 at once at random moments, and a steady one slightly above the limit.
"""

from __future__ import annotations

import random
import sys
from bisect import bisect_right
from collections.abc import Callable, Iterator
from pathlib import Path

from ratelimit_kit import FixedWindow, MemoryStore, SlidingWindow, TokenBucket
from ratelimit_kit.core.limit import Limit
from ratelimit_kit.stores import Charge
from ratelimit_kit.testing import ManualClock

LIMIT, WINDOW, SPAN = 100, 60_000_000, 7200.0
START = 1_800_000_000.0

LIMITS: dict[str, Limit] = {
    "sliding window (32)": SlidingWindow(LIMIT, per=60),
    "sliding window, resolution=100": SlidingWindow(LIMIT, per=60, resolution=LIMIT),
    "token bucket": TokenBucket(LIMIT, per=60),
    "token bucket, burst 10": TokenBucket(LIMIT, per=60, burst=10),
    "fixed window": FixedWindow(LIMIT, per="minute"),
}


def greedy() -> Iterator[float]:
    """Every 20 ms."""
    yield from (number * 0.02 for number in range(int(SPAN / 0.02)))


def bursty() -> Iterator[float]:
    """150 within a tenth of a second, then 5 to 55 seconds of silence."""
    chance, at = random.Random(1), 0.0
    while at < SPAN:
        yield from sorted(at + chance.random() / 10 for _ in range(150))
        at += 0.1 + chance.uniform(5, 55)


def steady() -> Iterator[float]:
    """At random moments, 110 a minute on average."""
    chance, at = random.Random(2), 0.0
    while at < SPAN:
        yield at
        at += chance.expovariate(110 / 60)


TRAFFIC: dict[str, Callable[[], Iterator[float]]] = {"greedy": greedy, "bursty": bursty, "steady": steady}


def microseconds(moments: Iterator[float]) -> Iterator[int]:
    """Whole microseconds, in which the library counts: floats would blur what is exact."""
    return (round(moment * 1_000_000) for moment in moments)


def admitted(limit: Limit, moments: Iterator[float]) -> list[int]:
    """The moments that a memory store admits."""
    clock = ManualClock(START)
    store = MemoryStore(clock=clock)
    found: list[int] = []
    now = 0
    for moment in microseconds(moments):
        clock.advance((moment - now) / 1_000_000)
        now = moment
        if store.decide([Charge("key", limit)])[0].allowed:
            found.append(moment)
    return found


def ideal(moments: Iterator[float]) -> int:
    """How many an unbounded exact log admits: the most that can be without ever exceeding the limit in a window."""
    log: list[int] = []
    for moment in microseconds(moments):
        if len(log) < LIMIT or log[-LIMIT] <= moment - WINDOW:
            log.append(moment)
    return len(log)


def most_in_any_window(times: list[int]) -> int:
    """The most admissions in any span of less than the window."""
    return max(index + 1 - bisect_right(times, at - WINDOW) for index, at in enumerate(times))


def table() -> str:
    """A row for each limit."""
    best = {name: ideal(traffic()) for name, traffic in TRAFFIC.items()}
    lines = [
        "| 100 a minute | most in any 60 s: greedy | bursty | steady | of the ideal: greedy | bursty | steady |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, limit in LIMITS.items():
        runs = {kind: admitted(limit, traffic()) for kind, traffic in TRAFFIC.items()}
        most = " | ".join(str(most_in_any_window(times)) for times in runs.values())
        share = " | ".join(f"{100 * len(times) / best[kind]:.1f} %" for kind, times in runs.items())
        lines.append(f"| {name} | {most} | {share} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    text = table()
    sys.stdout.write(text)
    for target in sys.argv[1:]:
        Path(target).write_text(text, encoding="utf-8")
