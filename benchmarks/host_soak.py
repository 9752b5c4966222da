"""`python -m benchmarks.host_soak [--minutes 5] [--keys 1000000] [--write FOLDER]`: processes that are killed on one file.

Eight processes hit a million keys of a host store, and some keys with a low limit again and again; every second one of
them is killed and another takes its place. Each admission under the low limit is logged with the time that the store
charged it at, and afterwards no window of the log may hold more than the limit. Every ten seconds it says how long a
hit took, and how much memory there is.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import statistics
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

from ratelimit_kit import HostStore, Limiter

PROCESSES = 8
STRICT = 20
WINDOW = 60.0
STRICT_KEYS = 50
SLICE = 10.0


class Slice(NamedTuple):
    """What one process did in a slice of time: when it began, hits, their median and 99th percentile in seconds, and its bytes."""

    at: float
    hits: int
    middle: float
    late: float
    memory: int


def worker(folder: Path, keys: int, number: int, end: float) -> None:
    """Hit until the end, and log each slice and each admission under the low limit."""
    store = HostStore(path=folder / "limits", max_keys=keys, timeout=5)
    mixed = Limiter("1000/hour", store=store, name="mixed")
    strict = Limiter(f"{STRICT}/{WINDOW:g} seconds", store=store, name="strict")
    chance = random.Random(number)
    timer = time.perf_counter
    with (
        (folder / f"admitted-{number}").open("ab", 0) as admitted,
        (folder / f"slices-{number}").open("ab", 0) as slices,
    ):
        while (begun := time.monotonic()) < end:
            took: list[float] = []
            while time.monotonic() < min(end, begun + SLICE):
                for _ in range(50):
                    key = f"key-{chance.randrange(keys)}"
                    at = timer()
                    mixed.hit(key)
                    took.append(timer() - at)
                key = chance.randrange(STRICT_KEYS)
                decision = strict.hit(str(key))
                if decision.allowed:
                    admitted.write(f"{key} {decision.verdicts[0].charged_at}\n".encode())
            took.sort()
            line = f"{begun} {len(took)} {took[len(took) // 2]} {took[len(took) * 99 // 100]} {resident()}\n"
            slices.write(line.encode())


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def start(folder: Path, keys: int, number: int, end: float) -> int:
    """The process that a worker runs in."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            worker(folder, keys, number, end)
            status = 0
        finally:
            os._exit(status)
    return pid


def run(folder: Path, keys: int, seconds: float) -> int:
    """Let the processes work, and kill one every second; how many were killed."""
    end = time.monotonic() + seconds
    running = {number: start(folder, keys, number, end) for number in range(PROCESSES)}
    following, killed = PROCESSES, 0
    chance = random.Random(1)
    while time.monotonic() < end - 2:
        time.sleep(1)
        number = chance.choice(list(running))
        os.kill(running[number], signal.SIGKILL)
        _, status = os.waitpid(running.pop(number), 0)
        assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL, "a process ended by itself"
        running[following] = start(folder, keys, following, end)
        following, killed = following + 1, killed + 1
    for pid in running.values():
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, "a process failed"
    return killed


def violations(folder: Path) -> tuple[int, int]:
    """How many admissions were logged, and how many windows of them hold more than the limit."""
    times: dict[str, list[int]] = defaultdict(list)
    for path in folder.glob("admitted-*"):
        for line in path.read_text().splitlines():
            key, _, at = line.partition(" ")
            if at:
                times[key].append(int(at))
    broken = 0
    for some in times.values():
        some.sort()
        broken += sum(later - earlier < WINDOW * 1_000_000 for earlier, later in zip(some, some[STRICT:], strict=False))
    return sum(map(len, times.values())), broken


def slices_of(folder: Path) -> list[Slice]:
    """What the processes did, by time."""
    lines = [line.split() for path in folder.glob("slices-*") for line in path.read_text().splitlines()]
    return sorted(
        Slice(float(at), int(hits), float(p50), float(p99), int(memory)) for at, hits, p50, p99, memory in lines
    )


def report(folder: Path, keys: int, minutes: float, killed: int) -> str:
    """The report, in Markdown."""
    admitted, broken = violations(folder)
    slices = slices_of(folder)
    begun = slices[0].at
    size = (folder / "limits").stat()
    rows = []
    for at in range(0, int(minutes * 60), 30):
        some = [one for one in slices if at <= one.at - begun < at + 30]
        if some:
            rows.append(
                f"| {at} s | {sum(one.hits for one in some):,} | {statistics.median(one.middle for one in some) * 1e6:.1f} us "
                f"| {statistics.median(one.late for one in some) * 1e6:.0f} us | {max(one.memory for one in some) / 2**20:.0f} MiB |"
            )
    store = HostStore(path=folder / "limits", max_keys=keys)
    facts = store.facts()
    return "\n".join(
        [
            "# A soak of the host store",
            "",
            (
                f"{PROCESSES} processes, {keys:,} keys, {minutes:g} minutes; {killed} processes were killed. "
                f"{admitted:,} admissions under {STRICT} in any {WINDOW:g} s, on {STRICT_KEYS} keys: **{broken} violations**. "
                f"At the end {facts['keys']:,} live keys in {size.st_blocks * 512 / 2**20:,.0f} MiB."
            ),
            "",
            "| from | hits | p50 | p99 | largest process |",
            "|---|---|---|---|---|",
            *rows,
            "",
        ]
    )


def main() -> None:
    """Run it, print the report, and write it if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--write", type=Path)
    options = parser.parse_args()
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(dir=memory) as name:
        folder = Path(name)
        killed = run(folder, options.keys, options.minutes * 60)
        text = report(folder, options.keys, options.minutes, killed)
        broken = violations(folder)[1]
    print(text)
    if options.write:
        (options.write / "host_soak.md").write_text(text)
    raise SystemExit(1 if broken else 0)


if __name__ == "__main__":
    main()
