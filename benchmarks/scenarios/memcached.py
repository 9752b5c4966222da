"""State in Memcached: one connection, one hot key."""

from __future__ import annotations

from typing import Any

import limits
from limits.storage import MemcachedStorage
from limits.strategies import FixedWindowRateLimiter, SlidingWindowCounterRateLimiter
from pymemcache.client.base import Client

from benchmarks.harness import Contestant, calls, floor, ours, peer, scenario
from benchmarks.place import Place
from benchmarks.scenarios.memory import MANY
from benchmarks.scenarios.redis_sync import OURS
from ratelimit_kit import Limiter


@scenario("memcached, one connection, allowed")
def memcached_allowed(place: Place) -> list[Contestant]:
    """Every hit is admitted; the floor reads a state and writes one if nobody has written it meanwhile."""
    address = f"127.0.0.1:{place.memcached_port}"
    one = Client(address, no_delay=True, connect_timeout=1, timeout=1)
    one.set("state", b"1764109123456789 4999999", 60, noreply=False)

    def read_and_write() -> Any:
        value, token = one.gets("state")
        return one.cas("state", value, token, 60, noreply=False)

    contestants = [floor("pymemcache, one gets and one cas", calls(read_and_write, chunk=1))]
    for name, limit in OURS:
        limiter = Limiter(limit, store=f"memcached://{address}", name=name)
        contestants.append(ours(name, calls(limiter.hit, "hot", chunk=1), 1.15))
    item = limits.RateLimitItemPerHour(MANY)
    for name, strategy in (
        ("fixed window", FixedWindowRateLimiter),
        ("sliding window counter", SlidingWindowCounterRateLimiter),
    ):
        hit = strategy(MemcachedStorage(f"memcached://{address}")).hit
        contestants.append(peer(f"limits, {name}", calls(hit, item, name.replace(" ", "-"), chunk=1)))
    return contestants
