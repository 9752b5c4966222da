"""State in Redis, the sync face: one connection, one limit and three, denials, and what the server spends."""

from __future__ import annotations

import struct
from collections.abc import Callable
from itertools import count
from typing import Any

import limits
import redis
import throttled
from limits.storage import RedisStorage
from limits.strategies import FixedWindowRateLimiter, MovingWindowRateLimiter, SlidingWindowCounterRateLimiter
from pyrate_limiter import Duration, Rate, RedisStateStore, StateBucket
from pyrate_limiter import Limiter as PyrateLimiter
from pyrate_limiter import TokenBucket as PyrateTokenBucket

from benchmarks import floors
from benchmarks.harness import Contestant, Work, calls, floor, ours, peer, scenario
from benchmarks.place import Place
from benchmarks.scenarios.memory import MANY, refused
from ratelimit_kit import Limiter

THREE = ("token-bucket: 5000000/second", f"{MANY}/hour", f"{MANY}/day")
OURS = (("token bucket", THREE[0]), ("sliding window", THREE[1]), ("fixed window", f"fixed-window: {MANY}/day"))


def limiter(place: Place, *limits: str, **options: Any) -> Limiter:
    """Our limiter on a database of its own."""
    made = Limiter(*limits, store=place.redis_url(), **options)
    place.stack.callback(made.close)
    return made


def client(place: Place) -> redis.Redis:
    """A plain redis-py client on a database of its own."""
    made = redis.Redis.from_url(place.redis_url(), protocol=2)
    place.stack.callback(made.close)
    return made


def evalsha(place: Place, rate: float = 1e9, capacity: float = 1e9, script: str = floors.SCRIPT) -> Callable[[], Any]:
    """The floor: redis-py's EVALSHA of a minimal script."""
    one = client(place)
    sha = one.script_load(script)
    return lambda: one.evalsha(sha, 1, "hot", rate, capacity)


def peers(place: Place, number: int, check: Callable[[Any], bool], chunk: int) -> list[Contestant]:
    """The peers with a limit of `number` an hour."""
    item = limits.RateLimitItemPerHour(number)
    contestants = []
    for name, strategy in (
        ("fixed window", FixedWindowRateLimiter),
        ("sliding window counter", SlidingWindowCounterRateLimiter),
        ("moving window", MovingWindowRateLimiter),
    ):
        if name != "moving window" or number < 100:  # with a large limit its log grows without end
            hit = strategy(RedisStorage(place.redis_url())).hit
            if number < 100:
                hit(item, name)
            contestants.append(peer(f"limits, {name}", calls(hit, item, name, check=check, chunk=chunk)))
    for name in ("fixed_window", "token_bucket", "sliding_window", "gcra"):
        store = throttled.RedisStore(server=place.redis_url())
        limiter = throttled.Throttled(using=name, quota=throttled.per_hour(number), store=store)
        hit = lambda key, limiter=limiter: not limiter.limit(key).limited  # noqa: E731 - its answer made a bool
        if number < 100:
            hit("hot")
        contestants.append(peer(f"throttled-py, {name.replace('_', ' ')}", calls(hit, "hot", check=check, chunk=chunk)))
    states = RedisStateStore(client(place), "bucket")
    pyrate = PyrateLimiter(StateBucket([Rate(number, Duration.HOUR)], store=states, algorithm=PyrateTokenBucket()))
    if number < 100:
        pyrate.try_acquire("hot", 1, False)
    hit = calls(pyrate.try_acquire, "hot", 1, False, check=check, chunk=chunk)
    return [*contestants, peer("pyrate-limiter, token bucket", hit)]


@scenario("redis, one connection, allowed")
def redis_allowed(place: Place) -> list[Contestant]:
    """Every hit is admitted."""
    return [
        floor("redis-py EVALSHA, minimal token bucket", calls(evalsha(place), chunk=1)),
        *(ours(name, calls(limiter(place, limit).hit, "hot", chunk=1), 0.5) for name, limit in OURS),
        *peers(place, MANY, bool, 1),
    ]


@scenario("redis, three limits at once")
def redis_three_limits(place: Place) -> list[Contestant]:
    """Three limits on one key, all or nothing where the contestant can."""
    one = evalsha(place)
    storage = FixedWindowRateLimiter(RedisStorage(place.redis_url()))
    items = [limits.RateLimitItemPerSecond(MANY), limits.RateLimitItemPerHour(MANY), limits.RateLimitItemPerDay(MANY)]
    return [
        floor("three EVALSHA of redis-py", calls(lambda: one() + one() + one(), chunk=1)),
        ours("three limits", calls(limiter(place, *THREE).hit, "hot", chunk=1), 0.2),
        peer(
            "limits, fixed windows, one by one", calls(lambda: all(storage.hit(item, "hot") for item in items), chunk=1)
        ),
    ]


@scenario("redis, denied hot key")
def redis_denied(place: Place) -> list[Contestant]:
    """A key that has used up its limit asks again and again."""
    contestants = [
        floor("redis-py EVALSHA, minimal token bucket", calls(evalsha(place, 1 / 3600, 0.5), check=refused, chunk=1))
    ]
    for cached in (True, False):
        for name, limit in (("token bucket", "token-bucket: 1/day"), ("sliding window", "1/day")):
            hit = limiter(place, limit, deny_cache=cached).hit
            while hit("hot"):
                pass
            contestants.append(
                ours(
                    name + ("" if cached else ", deny_cache=False"),
                    calls(hit, "hot", check=refused, chunk=100 if cached else 1),
                    *((5, "us") if cached else ()),
                )
            )
    return [*contestants, *peers(place, 1, refused, 1)]


def served(place: Place, work: Callable[[], Any]) -> Work:
    """Seconds that the server spends on a script call, by its own count (INFO commandstats)."""
    watcher = redis.Redis(port=place.redis_port)
    place.stack.callback(watcher.close)

    def measured(seconds: float) -> list[float]:
        watcher.config_resetstat()
        calls(work, chunk=100)(seconds)
        found = watcher.info("commandstats")["cmdstat_evalsha"]
        return [found["usec"] / found["calls"] / 1e6]

    return measured


@scenario(
    "redis, time that the server spends on a decision",
    note="by the server's own count, for keys that differ and for a hot one",
)
def redis_server_time(place: Place) -> list[Contestant]:
    """What a decision costs the server."""
    contestants = [floor("the script `return 1`, with our arguments", served(place, empty(place)))]
    contestants.append(peer("minimal token bucket (floor of the others)", served(place, evalsha(place))))
    for (name, limit), most in zip(OURS, (4, 6, None), strict=True):
        contestants.append(ours(f"{name}, hot key", served(place, hot(limiter(place, limit))), most))
    for name, limit in (("token bucket", "token-bucket: 100/minute"), ("sliding window", "100/minute")):
        contestants.append(ours(f"{name}, 100/minute, new keys", served(place, fresh(limiter(place, limit)))))
    contestants.append(ours("three limits, hot key", served(place, hot(limiter(place, *THREE)))))
    for name in ("token_bucket", "sliding_window", "gcra"):
        store = throttled.RedisStore(server=place.redis_url())
        one = throttled.Throttled(using=name, quota=throttled.per_hour(MANY), store=store)
        contestants.append(
            peer(f"throttled-py, {name.replace('_', ' ')}", served(place, lambda one=one: one.limit("hot")))
        )
    return contestants


def empty(place: Place) -> Callable[[], Any]:
    """A script that does nothing, called with the key and the arguments of one token bucket."""
    one = client(place)
    sha = one.script_load("return 1")
    numbers = struct.pack("<4d", 1, 5_000_000, 1, 5)
    return lambda: one.evalsha(sha, 1, "rlk:tb-5000000-1000000-5000000:{default:hot}", "tb", numbers)


def hot(limiter: Limiter) -> Callable[[], Any]:
    """Hit one key."""
    return lambda: limiter.hit("hot")


def fresh(limiter: Limiter) -> Callable[[], Any]:
    """Hit ten thousand keys in turn."""
    numbers = count()
    return lambda: limiter.hit(f"key-{next(numbers) % 10_000}", 1) or True


@scenario("redis, commands that a decision takes", unit="commands", note="counted by the server; the floor is none")
def redis_commands(place: Place) -> list[Contestant]:
    """Round trips per decision."""

    def counted(work: Callable[[], Any]) -> Work:
        watcher = redis.Redis(port=place.redis_port)
        place.stack.callback(watcher.close)

        def measured(_: float) -> list[float]:
            for _ in range(5):
                work()
            watcher.config_resetstat()
            for _ in range(100):
                work()
            found = watcher.info("commandstats")
            return [sum(found.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in ("evalsha", "eval")) / 100]

        return measured

    denied = limiter(place, "1/day")
    return [
        floor("nothing", lambda _: [0.0]),
        ours("one limit", counted(hot(limiter(place, THREE[0]))), 1),
        ours("three limits", counted(hot(limiter(place, *THREE))), 1),
        ours("denied hot key", counted(hot(denied)), 0),
    ]
