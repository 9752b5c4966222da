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


@dataclass(frozen=True)
class Passed:
    """An admission happened at some instant between these two of the system-wide monotonic clock."""

    before: float
    after: float
    limit: str = ""


def hammer(url: str, *limits: str, processes: int, threads: int, seconds: float) -> list[Passed]:
    """The admissions of all threads of all processes, in order; the limits take turns among the processes."""
    start = time.monotonic() + 3.0
    children = []
    for number in range(processes):
        limit = limits[number % len(limits)]
        words = [url, limit, str(threads), str(start), str(start + seconds)]
        command = [sys.executable, "-m", "tests.live.hammer", *words]
        children.append((limit, subprocess.Popen(command, stdout=subprocess.PIPE, text=True)))
    admissions = []
    for limit, child in children:
        output, _ = child.communicate(timeout=seconds + 60)
        assert child.returncode == 0
        admissions += [Passed(*pair, limit) for pair in json.loads(output)]
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


def _hit(limiter: Limiter, start: float, end: float, admitted: list[tuple[float, float]]) -> None:
    time.sleep(max(0.0, start - time.monotonic()))
    while (before := time.monotonic()) < end:
        if limiter.hit("one key").allowed:
            admitted.append((before, time.monotonic()))


def main(url: str, limit: str, threads: str, start: str, end: str) -> None:
    limiter = Limiter(limit, store=url, name="hammer")
    admitted: list[tuple[float, float]] = []
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
