"""`python -m benchmarks.soak [--minutes 5] [--keys 1000000] --write FOLDER`: many live keys, mixed traffic, for a while.

A memory store and a Redis server are filled with live keys, and then take turns at the same traffic:
busy keys, keys picked evenly, new keys, looks, and a client that has used up its limit. Every slice of
time says how long a decision took and how much memory there is. Before the filling the same is measured
with a thousand keys, for comparison.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import redis

from benchmarks.lines import lines
from benchmarks.place import Place
from ratelimit_kit import Limiter, MemoryStore

MOST = 100_000
LIMIT = f"{MOST}/hour"
"""So many that only the client who is meant to has used it up, however few keys there are."""

SLICE = 2.0


class Slice(NamedTuple):
    """What one store did in a slice of time: seconds, and bytes."""

    at: float
    keys: int
    middle: float
    late: float
    memory: int


class Traffic:
    """The same mix for every store, over keys that are alive and some that are new."""

    def __init__(self, limiter: Limiter, keys: int, memory: Callable[[], int], count: Callable[[], int]) -> None:
        self._limiter = limiter
        self._keys = keys
        self._chance = random.Random(keys)
        self._new = 0
        self.memory = memory
        self.count = count
        limiter.hit("used up", MOST)

    def fill(self) -> None:
        """Bring all keys to life, by many tasks at once."""
        numbers = iter(range(self._keys))

        async def task() -> None:
            for number in numbers:
                await self._limiter.ahit(f"key-{number}")

        async def fill() -> None:
            await asyncio.gather(*(task() for _ in range(500)))
            await self._limiter.aclose()

        asyncio.run(fill())

    def one(self) -> None:
        """One call of the mix."""
        dice = self._chance.random()
        if dice < 0.4:  # a few keys get most of the traffic
            self._limiter.hit(f"key-{int(self._chance.paretovariate(0.5)) % self._keys}")
        elif dice < 0.78:
            self._limiter.hit(f"key-{self._chance.randrange(self._keys)}")
        elif dice < 0.8:
            self._new += 1
            self._limiter.hit(f"new-{self._new}")
        elif dice < 0.9:
            self._limiter.peek(f"key-{self._chance.randrange(self._keys)}")
        else:
            assert not self._limiter.hit("used up")

    def run(self, seconds: float, begun: float) -> Slice:
        """The mix for some seconds."""
        samples = []
        end = time.perf_counter() + seconds
        while (start := time.perf_counter()) < end:
            self.one()
            samples.append(time.perf_counter() - start)
        samples.sort()
        late = samples[int(len(samples) * 0.99)]
        return Slice(time.perf_counter() - begun, self.count(), statistics.median(samples), late, self.memory())


def resident() -> int:
    """Bytes of this process."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * 4096


def traffics(place: Place, keys: int) -> Iterator[tuple[str, Traffic]]:
    """One traffic for each store, with stores of their own."""
    store = MemoryStore(max_keys=10 * max(keys, 100_000))
    memory = Limiter(LIMIT, store=store)
    yield "memory", Traffic(memory, keys, resident, lambda: len(store))
    url = place.redis_url()
    client: Any = redis.Redis.from_url(url)
    place.stack.callback(client.close)
    shared = Limiter(LIMIT, store=url + "?timeout=5")  # how late the slowest is, is charted; none is to be lost
    place.stack.callback(shared.close)
    yield "redis", Traffic(shared, keys, lambda: client.info("memory")["used_memory"], client.dbsize)


def main() -> None:
    """Run, print, write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak")
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--write", type=Path)
    chosen = parser.parse_args()
    with Place() as place:
        few = dict(traffics(place, 1000))
        for traffic in few.values():
            traffic.fill()
        before = {name: traffic.run(5 * SLICE, time.perf_counter()) for name, traffic in few.items()}
        many = dict(traffics(place, chosen.keys))
        for name, traffic in many.items():
            begun = time.perf_counter()
            traffic.fill()
            print(f"{name}: {traffic.count()} keys in {time.perf_counter() - begun:.0f} s", flush=True)
        found: dict[str, list[Slice]] = {name: [] for name in many}
        begun = time.perf_counter()
        while time.perf_counter() < begun + 60 * chosen.minutes:
            for name, traffic in many.items():
                found[name].append(traffic.run(SLICE, begun))
    text = report(before, found, chosen.minutes)
    print(text)
    if chosen.write is not None:
        (chosen.write / "soak.md").write_text(text, encoding="utf-8")
        (chosen.write / "soak.svg").write_text(picture(found), encoding="utf-8")


def report(before: dict[str, Slice], found: dict[str, list[Slice]], minutes: float) -> str:
    """A table: a thousand keys, the first tenth of the run, the last."""
    rows = [
        f"{minutes:g} minutes of mixed traffic, slices of {SLICE:g} s; medians over the slices.\n",
        "| store | when | live keys | p50 | p99 | memory |",
        "|---|---|---|---|---|---|",
    ]
    for name, slices in found.items():
        part = max(1, len(slices) // 10)
        for when, some in (
            ("a thousand keys", [before[name]]),
            ("first tenth", slices[:part]),
            ("last tenth", slices[-part:]),
        ):
            middle, late = (statistics.median(getattr(one, what) for one in some) * 1e6 for what in ("middle", "late"))
            rows.append(
                f"| {name} | {when} | {some[-1].keys} | {middle:.1f} us | {late:.1f} us | {some[-1].memory / 2**20:.0f} MiB |"
            )
    return "\n".join(rows) + "\n"


def picture(found: dict[str, list[Slice]]) -> str:
    """Latency and memory over time."""
    panels = []
    for name, slices in found.items():
        times = [one.at / 60 for one in slices]
        panels.append(
            (
                f"{name}: a decision, us",
                times,
                {"p50": [one.middle * 1e6 for one in slices], "p99": [one.late * 1e6 for one in slices]},
            )
        )
        panels.append((f"{name}: memory, MiB", times, {"used": [one.memory / 2**20 for one in slices]}))
    return lines(panels, "minutes")


if __name__ == "__main__":
    main()
