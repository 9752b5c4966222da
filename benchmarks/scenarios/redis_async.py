"""State in Redis, the async face: many tasks of one event loop at once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from itertools import count
from typing import Any

import limits
import redis.asyncio
import throttled.asyncio
from limits.aio.storage import RedisStorage
from limits.aio.strategies import FixedWindowRateLimiter, SlidingWindowCounterRateLimiter

from benchmarks import floors
from benchmarks.harness import Contestant, floor, ours, peer, scenario, tasks
from benchmarks.place import Place
from benchmarks.scenarios.memory import MANY
from benchmarks.scenarios.redis_sync import OURS, THREE, client
from ratelimit_kit import Limiter, RedisStore

_POOL = {
    "CONNECTION_POOL_CLASS": "redis.asyncio.BlockingConnectionPool",
    "CONNECTION_POOL_KWARGS": {"max_connections": 50, "timeout": 20},
}


def keys(*, many: bool) -> Callable[[int], str]:
    """The key of a task's next hit: one of its own, or one of ten thousand in turn."""
    if not many:
        return lambda task: f"key-{task}"
    numbers = count()
    return lambda _: f"key-{next(numbers) % 10_000}"


def evalsha(place: Place, *, many: bool = False) -> Callable[[int], Awaitable[Any]]:
    """The floor: redis-py's EVALSHA of a minimal script, with as many connections as it is quickest with."""
    url = place.redis_url()
    pool = redis.asyncio.BlockingConnectionPool.from_url(url, protocol=2, max_connections=50, timeout=20)
    one = redis.asyncio.Redis(connection_pool=pool)
    sha = client(place).script_load(floors.SCRIPT)
    key = keys(many=many)

    async def hit(task: int) -> Any:
        return await one.evalsha(sha, 1, key(task), 1e9, 1e9)

    return hit


def limiter(
    place: Place, *limits: str, hot: bool = False, many: bool = False, batching: bool = True
) -> Callable[[int], Awaitable[Any]]:
    """Ours, on a database of its own: a key per task, one of `many`, or one hot key."""
    made = Limiter(*limits, store=RedisStore(place.redis_url(), batching=batching))
    key = keys(many=many)

    async def hit(task: int) -> Any:
        return await made.ahit("hot" if hot else key(task))

    return hit


def peers(place: Place, number: int) -> list[Contestant]:
    """The peers' async faces, a key per task."""
    item = limits.RateLimitItemPerHour(MANY)
    contestants = []
    for name, strategy in (
        ("fixed window", FixedWindowRateLimiter),
        ("sliding window counter", SlidingWindowCounterRateLimiter),
    ):
        url = place.redis_url()
        pool = redis.asyncio.BlockingConnectionPool.from_url(url, max_connections=50, timeout=20)
        one = strategy(RedisStorage("async+" + url, implementation="redispy", connection_pool=pool))

        async def hit(task: int, one: Any = one) -> Any:
            return await one.hit(item, f"key-{task}")

        contestants.append(peer(f"limits, {name}", tasks(place.stack, number, hit)))
    for name in ("fixed_window", "token_bucket", "gcra"):
        store = throttled.asyncio.RedisStore(server=place.redis_url(), options=_POOL)
        one = throttled.asyncio.Throttled(using=name, quota=throttled.asyncio.per_hour(MANY), store=store)

        async def limit(task: int, one: Any = one) -> Any:
            return not (await one.limit(f"key-{task}")).limited

        contestants.append(peer(f"throttled-py, {name.replace('_', ' ')}", tasks(place.stack, number, limit)))
    return contestants


def contestants(place: Place, number: int, at_most: float) -> list[Contestant]:
    """All of them, with that many tasks."""
    bucket, window, _ = THREE
    return [
        floor("redis-py asyncio EVALSHA, minimal token bucket", tasks(place.stack, number, evalsha(place))),
        ours("token bucket, a key per task", tasks(place.stack, number, limiter(place, bucket)), at_most),
        ours("token bucket, one hot key", tasks(place.stack, number, limiter(place, bucket, hot=True)), at_most),
        ours("sliding window, a key per task", tasks(place.stack, number, limiter(place, window))),
        ours("three limits, a key per task", tasks(place.stack, number, limiter(place, *THREE))),
        ours("token bucket, batching=False", tasks(place.stack, number, limiter(place, bucket, batching=False))),
        *peers(place, number),
    ]


@scenario("redis async, 1 task", note="time over calls")
def redis_async_1(place: Place) -> list[Contestant]:
    """A single task."""
    return contestants(place, 1, 0.6)


@scenario("redis async, 50 tasks over 10,000 keys", note="time over calls, all tasks at once")
def redis_async_many_keys(place: Place) -> list[Contestant]:
    """Fifty tasks, each hit on another key."""
    return [
        floor("redis-py asyncio EVALSHA, minimal token bucket", tasks(place.stack, 50, evalsha(place, many=True))),
        *[ours(name, tasks(place.stack, 50, limiter(place, limit, many=True)), 0.12) for name, limit in OURS],
    ]


@scenario("redis async, 50 tasks", note="time over calls, all tasks at once")
def redis_async_50(place: Place) -> list[Contestant]:
    """Fifty tasks that hit again as soon as they are answered."""
    return contestants(place, 50, 0.07)


@scenario("redis async, 500 tasks", note="time over calls, all tasks at once")
def redis_async_500(place: Place) -> list[Contestant]:
    """Five hundred of them."""
    return contestants(place, 500, 0.05)
