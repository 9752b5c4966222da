"""`python -m benchmarks.cost`: what a key costs a Redis server, in bytes and in time; prints a Markdown table.

Bytes are MEMORY USAGE of a key with everything that Redis keeps for it, time is the server's own count
(INFO commandstats) over many decisions. `--write FILE` writes the table to a file.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import redis

from benchmarks.place import Place
from ratelimit_kit import Limiter, SlidingWindow

ROWS: tuple[tuple[str, str | SlidingWindow, int], ...] = (
    ("token bucket", "token-bucket: 100/minute", 1),
    ("token bucket, used up", "token-bucket: 100/minute", 100),
    ("fixed window", "fixed-window: 100/day", 1),
    ("fixed window, used up", "fixed-window: 100/day", 100),
    ("sliding window, one hit", "100/minute", 1),
    ("sliding window, 10 hits", "100/minute", 10),
    ("sliding window, used up at once", "100/minute", 100),
    ("sliding window 1000/day, used up", "1000/day", 1000),
    ("the same with resolution=1000, 999 hits", SlidingWindow(1000, per="day", resolution=1000), 999),
)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cost")
    parser.add_argument("--write", type=Path)
    chosen = parser.parse_args()
    with Place() as place:
        text = "\n".join(table(place)) + "\n"
    print(text)
    if chosen.write is not None:
        chosen.write.write_text(text, encoding="utf-8")


def table(place: Place) -> Iterator[str]:
    """The rows of the table."""
    with redis.Redis(port=place.redis_port) as watcher:
        empty = served(watcher, lambda: watcher.eval("return 1", 1, "key", *range(5)), "eval")
        yield "| a key in this state | bytes a key | server time, admitted | denied | of an empty script |"
        yield "|---|---|---|---|---|"
        for name, limit, hits in ROWS:
            yield row(place, watcher, name, limit, hits, empty)


def row(place: Place, watcher: Any, name: str, limit: str | SlidingWindow, hits: int, empty: float) -> str:
    """One state: its bytes, and the time of the next decision, admitted and denied."""
    url = place.redis_url()
    limiter = Limiter(limit, store=url, deny_cache=False)
    with redis.Redis.from_url(url) as client:
        for _ in range(hits):
            limiter.hit("user:1234567")
        (key,) = client.keys()
        size = client.memory_usage(key, samples=0)
        denied = served(watcher, lambda: limiter.hit("user:1234567", limiter.limits[0].max_cost), "evalsha")
        state = client.dump(key)
        room = hits < limiter.limits[0].max_cost
        admitted = served(watcher, lambda: again(client, limiter, key, state), "evalsha") if room else denied
    limiter.close()
    shown = f"{admitted * 1e6:.1f} us" if room else ""
    return f"| {name} | {size:,} | {shown} | {denied * 1e6:.1f} us | {admitted / empty:.1f} x |"


def again(client: Any, limiter: Limiter, key: bytes, state: bytes) -> None:
    """One more hit on that very state."""
    client.restore(key, 60_000, state, replace=True)
    limiter.hit("user:1234567")


def served(watcher: Any, work: Callable[[], Any], command: str, number: int = 500) -> float:
    """Seconds that the server spends on that command, on average."""
    work()
    watcher.config_resetstat()
    for _ in range(number):
        work()
    found = watcher.info("commandstats")[f"cmdstat_{command}"]
    seconds: float = found["usec"] / found["calls"] / 1e6
    return seconds


if __name__ == "__main__":
    main()
