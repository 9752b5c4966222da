"""Many processes and threads hit one key at once; every admission is timed on one shared clock."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from bisect import bisect_left
from dataclasses import dataclass

from ratelimit_kit import Limiter

START_SECONDS = 3.0
"""Seconds until all processes have been started and begin to hit."""


@dataclass(frozen=True)
class Passed:
    """An admission happened at some instant between these two of the system-wide monotonic clock."""

    before: float
    after: float
    limit: str = ""
    degraded: bool = False


def hammer(
    url: str,
    *limits: str,
    processes: int,
    threads: int,
    seconds: float,
    start: float | None = None,
    **options: str | bool,
) -> list[Passed]:
    """The admissions of all threads of all processes, in order; the limits take turns among the processes.

    `options` are those of each process's Limiter; `start` is on the monotonic clock.
    """
    start = time.monotonic() + START_SECONDS if start is None else start
    children = []
    for number in range(processes):
        limit = limits[number % len(limits)]
        words = [url, limit, str(threads), str(start), str(start + seconds), json.dumps(options)]
        command = [sys.executable, "-m", "tests.live.hammer", *words]
        children.append((limit, subprocess.Popen(command, stdout=subprocess.PIPE, text=True)))
    admissions = []
    for limit, child in children:
        output, _ = child.communicate(timeout=seconds + 60)
        assert child.returncode == 0
        admissions += [Passed(before, after, limit, degraded) for before, after, degraded in json.loads(output)]
    return sorted(admissions, key=lambda one: one.before)


def most_in_any_window(admissions: list[Passed], seconds: float) -> int:
    """The most admissions that certainly lay within less than `seconds`: all of them began and ended in it."""
    begins = [one.before for one in admissions]
    most = 0
    for first in range(len(admissions)):
        last = bisect_left(begins, begins[first] + seconds)
        most = max(most, sum(one.after - begins[first] < seconds for one in admissions[first:last]))
    return most


def most_before(admissions: list[Passed], limit: str, seconds: float) -> int:
    """The most admissions that certainly lay in the window that ends with one by this limit, itself included."""
    begins = [one.before for one in admissions]
    most = 0
    for last in admissions:
        if last.limit == limit:
            window = admissions[bisect_left(begins, last.after - seconds) : bisect_left(begins, last.before)]
            most = max(most, 1 + sum(one.after < last.before for one in window))
    return most


def _hit(limiter: Limiter, start: float, end: float, admitted: list[tuple[float, float, bool]]) -> None:
    time.sleep(max(0.0, start - time.monotonic()))
    while (before := time.monotonic()) < end:
        decision = limiter.hit("one key")
        if decision.allowed:
            admitted.append((before, time.monotonic(), decision.degraded))


def main(url: str, limit: str, threads: str, start: str, end: str, options: str) -> None:
    limiter = Limiter(limit, store=url, name="hammer", **json.loads(options))
    admitted: list[tuple[float, float, bool]] = []
    workers = [
        threading.Thread(target=_hit, args=(limiter, float(start), float(end), admitted)) for _ in range(int(threads))
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    json.dump(admitted, sys.stdout)


if __name__ == "__main__":
    main(*sys.argv[1:])
