"""A flood of throw-away keys on a memory store, in a separate process; prints the outcome as JSON."""

from __future__ import annotations

import gc
import json
from pathlib import Path

from ratelimit_kit import Charge, MemoryStore, SlidingWindow
from ratelimit_kit.testing import ManualClock

LIMIT = SlidingWindow(5, per=60)


def resident() -> int:
    """The resident memory of this process, in pages."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1])


def main() -> None:
    clock = ManualClock(start=1000)
    store = MemoryStore(clock=clock)
    for _ in range(5):
        store.decide([Charge("limited", LIMIT)])
    start = resident()
    for number in range(1_000_000):
        store.decide([Charge(f"throw-away-{number}", LIMIT)])
    full = resident()
    keys = len(store)
    still_limited = not store.decide([Charge("limited", LIMIT)])[0].allowed
    clock.advance(200)
    for _ in range(20_000):
        store.decide([Charge("another", LIMIT)])
    returned = (full - resident()) / (full - start)
    print(json.dumps({"keys": keys, "still_limited": still_limited, "live": len(store), "returned": returned}))  # noqa: T201


if __name__ == "__main__":
    main()
