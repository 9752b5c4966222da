"""State in this process: one hot key admitted, one denied, and a million keys."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Callable
from itertools import cycle
from typing import Any

import limits
import throttled
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter, MovingWindowRateLimiter, SlidingWindowCounterRateLimiter
from pyrate_limiter import Duration, InMemoryBucket, Rate, StateBucket
from pyrate_limiter import Limiter as PyrateLimiter
from pyrate_limiter import TokenBucket as PyrateTokenBucket

from benchmarks import floors
from benchmarks.harness import Contestant, Work, calls, floor, ours, peer, scenario
from benchmarks.place import Place
from ratelimit_kit import Limiter

MANY = 1_000_000_000
"""A limit that no run reaches."""


def refused(answer: Any) -> bool:
    """Whether an answer is a plain no."""
    return not answer


def throttle(algorithm: str, number: int) -> Callable[[str], bool]:
    """throttled-py, with a hot key and no time-out; its answer made a bool."""
    limiter = throttled.Throttled(
        using=algorithm, quota=throttled.per_hour(number), store=throttled.MemoryStore(options={"MAX_SIZE": 1024})
    )

    def hit(key: str) -> bool:
        return not limiter.limit(key).limited

    return hit


def peers(number: int, check: Callable[[Any], bool]) -> list[Contestant]:
    """The peers with a limit of `number` an hour, each algorithm that it offers for one process."""
    storage = MemoryStorage()
    item = limits.RateLimitItemPerHour(number)
    contestants = [
        peer(f"limits, {name}", calls(strategy(storage).hit, item, name, check=check))
        for name, strategy in (
            ("fixed window", FixedWindowRateLimiter),
            ("sliding window counter", SlidingWindowCounterRateLimiter),
        )
    ]
    if number < 100:  # with a large limit its log grows without end
        contestants.append(
            peer("limits, moving window", calls(MovingWindowRateLimiter(storage).hit, item, "moving", check=check))
        )
    contestants += [
        peer(f"throttled-py, {name.replace('_', ' ')}", calls(throttle(name, number), "hot", check=check))
        for name in ("fixed_window", "token_bucket", "sliding_window", "gcra")
    ]
    rate = Rate(number, Duration.HOUR)
    pyrate = PyrateLimiter(StateBucket([rate], algorithm=PyrateTokenBucket()))
    contestants.append(peer("pyrate-limiter, token bucket", calls(pyrate.try_acquire, "hot", 1, False, check=check)))
    if number < 100:
        log = PyrateLimiter(InMemoryBucket([rate]))
        contestants.append(peer("pyrate-limiter, log", calls(log.try_acquire, "hot", 1, False, check=check)))
    return contestants


@scenario("memory, one hot key, allowed")
def memory_allowed(_: Place) -> list[Contestant]:
    """Every hit is admitted."""
    return [
        floor("token bucket by hand", calls(floors.bucket(1e9, 1e9), "hot")),
        ours("token bucket", calls(Limiter("token-bucket: 5000000/second").hit, "hot"), 1.5),
        ours("sliding window", calls(Limiter(f"{MANY}/hour").hit, "hot"), 2.0),
        ours("fixed window", calls(Limiter(f"fixed-window: {MANY}/day").hit, "hot")),
        *peers(MANY, bool),
    ]


@scenario("memory, one hot key, denied")
def memory_denied(_: Place) -> list[Contestant]:
    """The limit is used up, and every hit is refused."""
    contestants = [floor("token bucket by hand", _used_up(floors.bucket(1 / 3600, 1)))]
    contestants += [
        ours(name, _used_up(Limiter(limit).hit), 1.2)
        for name, limit in (
            ("token bucket", "token-bucket: 1/day"),
            ("sliding window", "1/day"),
            ("fixed window", "fixed-window: 1/month"),
        )
    ]
    return [*contestants, *(one for one in peers(1, refused) if one.work)]


def _used_up(hit: Callable[[str], Any]) -> Work:
    while hit("hot"):
        pass
    return calls(hit, "hot", check=refused)


@scenario("memory, 1 M live keys", note="the floor is our own hit on one key")
def memory_million_keys(place: Place) -> list[Contestant]:
    """The cost of a hit does not grow with the number of keys that are alive."""
    one, many = Limiter(f"token-bucket: {MANY}/hour"), Limiter(f"token-bucket: {MANY}/hour")
    keys = [f"key-{number}" for number in range(place.keys)]
    by_hand = floors.bucket(1e9, 1e9)
    for key in keys:
        many.hit(key)
        by_hand(key)
    random.Random(1).shuffle(keys)
    some, hot, alone = cycle(keys[:1000]), cycle(keys[:1] * 1000), cycle(["key"] * 1000)
    ours_all, by_hand_all = cycle(keys), cycle(keys)
    return [
        floor("one key and no other", calls(lambda: one.hit(next(alone)))),
        ours("one hot key among them", calls(lambda: many.hit(next(hot))), 1.3),
        ours("a thousand busy keys among them", calls(lambda: many.hit(next(some)))),
        ours("each of them in turn", calls(lambda: many.hit(next(ours_all)))),
        peer("by hand, each of them in turn", calls(lambda: by_hand(next(by_hand_all)))),
    ]


EXPIRING = """
import gc, sys
from ratelimit_kit import Limiter, MemoryStore

def held():
    return int(open("/proc/self/statm").read().split()[1])

number, now = int(sys.argv[1]), [10**15]
store = MemoryStore(max_keys=2 * number, clock=lambda: now[0])
limiter = Limiter(sys.argv[2], store=store)
limiter.hit("somebody")
before = held()
for one in range(number):
    limiter.hit(f"key-{one}")
full, now[0] = held(), now[0] + 3600 * 10**9
while len(store) > 1:
    limiter.hit("somebody")
gc.collect()
print((held() - before) / (full - before))
"""
"""Fills a store in a process of its own, and lets the keys expire; prints the share that is still held."""


def expiring(place: Place, limit: str) -> Work:
    """Which share of their memory a million expired keys still hold; measured once, for it hardly varies."""
    found: list[float] = []

    def work(_: float) -> list[float]:
        if not found:
            command = [sys.executable, "-c", EXPIRING, str(place.keys), limit]
            found.append(float(subprocess.check_output(command)))
        return found

    return work


@scenario("memory, 1 M keys that have expired", unit="%", note="of the memory that they took, what is still held")
def memory_expired_keys(place: Place) -> list[Contestant]:
    """Memory follows the live keys."""
    return [
        floor("nothing", lambda _: [0.0]),
        ours("sliding window", expiring(place, "100/minute"), 10),
        ours("token bucket", expiring(place, "token-bucket: 100/minute"), 10),
    ]
