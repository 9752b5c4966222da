"""Several processes of one machine that count together: `host://` beside a Redis on the same machine, and SQLite."""

from __future__ import annotations

import itertools
import sqlite3
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pyrate_limiter import Duration, Rate, SQLiteBucket
from pyrate_limiter import Limiter as PyrateLimiter

from benchmarks.crew import crew
from benchmarks.harness import Contestant, floor, ours, peer, scenario
from benchmarks.place import Place
from ratelimit_kit import Limiter

MANY = 1_000_000_000
KEYS = 10_000
BUCKET, WINDOW = f"token-bucket: {MANY}/hour", f"{MANY}/hour"
THREE = (f"{MANY}/second", f"{MANY}/hour", f"{MANY}/day")

numbers = itertools.count()


def folder(place: Place) -> Path:
    """A folder in shared memory, where there is some."""
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
    return Path(place.stack.enter_context(tempfile.TemporaryDirectory(dir=memory)))


def refused(answer: Any) -> bool:
    """Whether an answer is a plain no."""
    return not answer


def hits(url: str, limits: Sequence[str], keys: int, *, used_up: bool = False) -> Callable[[int], Callable[[], Any]]:
    """What each process does with this library: hits on one key, or on many in turn."""

    def build(number: int) -> Callable[[], Any]:
        hit = Limiter(*limits, store=url, deny_cache=not used_up).hit
        while used_up and hit("hot"):
            pass
        if keys == 1:
            return lambda: hit("hot")
        names = [f"key-{key}" for key in range(number * 97, number * 97 + keys)]
        for name in names:  # the clients are known
            hit(name)
        turn = itertools.cycle(names)
        return lambda: hit(next(turn))

    return build


def sqlite(path: Path, capacity: float, keys: int) -> Callable[[int], Callable[[], Any]]:
    """A token bucket by hand in a table of SQLite (WAL, nothing synchronous), and a bare yes or no."""

    def build(number: int) -> Callable[[], Any]:
        base = sqlite3.connect(path, isolation_level=None, timeout=10)
        base.execute("PRAGMA journal_mode=WAL")
        base.execute("PRAGMA synchronous=OFF")
        base.execute("CREATE TABLE IF NOT EXISTS buckets (key TEXT PRIMARY KEY, tokens REAL, stamp REAL) WITHOUT ROWID")
        rate = capacity / 3600
        turn = itertools.cycle([f"key-{key}" for key in range(number * 97, number * 97 + keys)])

        def hit() -> bool:
            key, now = next(turn), time.time()
            base.execute("BEGIN IMMEDIATE")
            tokens, stamp = base.execute("SELECT tokens, stamp FROM buckets WHERE key = ?", (key,)).fetchone() or (
                capacity,
                now,
            )
            tokens = min(capacity, tokens + (now - stamp) * rate)
            if tokens < 1:
                base.execute("COMMIT")
                return False
            base.execute("INSERT OR REPLACE INTO buckets VALUES (?, ?, ?)", (key, tokens - 1, now))
            base.execute("COMMIT")
            return True

        while capacity < 2 and hit():
            pass
        return hit

    return build


def pyrate(path: Path) -> Callable[[int], Callable[[], Any]]:
    """pyrate-limiter's bucket for several processes: SQLite behind a file lock; its log is used up."""

    def build(_: int) -> Callable[[], Any]:
        bucket = SQLiteBucket.init_from_file([Rate(1, Duration.HOUR)], db_path=str(path), use_file_lock=True)
        limiter = PyrateLimiter(bucket)
        limiter.try_acquire("hot", 1, False)
        return lambda: limiter.try_acquire("hot", 1, False)

    return build


def contestants(place: Place, processes: int, keys: int, *, denied: bool = False) -> list[Contestant]:
    """Everybody with one limit; the denial cache is off, because it would answer without the store."""
    shared = folder(place)
    bucket, window = ("token-bucket: 1/day", "1/day") if denied else (BUCKET, WINDOW)
    if keys > 1:  # of a larger limit a bucket is full again at once, and its slot is anybody's
        bucket = "token-bucket: 20000/day"
    check = refused if denied else bool

    def mine(url: str, limit: str) -> Any:
        return crew(place, processes, hits(url, [limit], keys, used_up=denied), check)

    found = [
        floor("RedisStore over TCP, token bucket", mine(place.redis_url(), bucket)),
        ours("host://, token bucket", mine(f"host://{shared}/bucket", bucket), 0.15),
        ours("host://, sliding window", mine(f"host://{shared}/window", window), 0.15),
        ours("RedisStore over a UNIX socket, token bucket", mine(place.redis_socket_url(), bucket)),
        ours("memory://, each process by itself, token bucket", mine("memory://", bucket)),
        peer("SQLite by hand (WAL, on tmpfs), token bucket", crew(place, processes, sqlite(shared / "sqlite", 1 if denied else MANY, keys), check)),
    ]  # fmt: skip
    if denied:
        found.append(
            peer("pyrate-limiter, SQLite behind a file lock", crew(place, processes, pyrate(shared / "pyrate"), check))
        )
    return found


@scenario("host, one hot key, 1 process")
def host_1(place: Place) -> list[Contestant]:
    """Every hit is admitted."""
    return contestants(place, 1, 1)


@scenario("host, one hot key, 2 processes")
def host_2(place: Place) -> list[Contestant]:
    """As many as this machine has processors."""
    return contestants(place, 2, 1)


@scenario("host, one hot key, 8 processes")
def host_8(place: Place) -> list[Contestant]:
    """More than that: whoever holds a lock may not be running."""
    return contestants(place, 8, 1)


@scenario("host, denied hot key, 2 processes")
def host_denied(place: Place) -> list[Contestant]:
    """The limit is used up, and every hit is refused."""
    return contestants(place, 2, 1, denied=True)


@scenario("host, 10,000 keys, 1 process")
def host_many_keys_1(place: Place) -> list[Contestant]:
    """Each hit is on the next key."""
    return contestants(place, 1, KEYS)


@scenario("host, 10,000 keys, 8 processes")
def host_many_keys_8(place: Place) -> list[Contestant]:
    """The processes are seldom at the same key."""
    return contestants(place, 8, KEYS)


@scenario("host, three limits at once, 1 process")
def host_three_limits(place: Place) -> list[Contestant]:
    """Three limits on one key, all or nothing."""
    shared = folder(place)
    return [
        floor("RedisStore over TCP", crew(place, 1, hits(place.redis_url(), THREE, 1))),
        ours("host://", crew(place, 1, hits(f"host://{shared}/three", THREE, 1)), 0.4),
        ours("RedisStore over a UNIX socket", crew(place, 1, hits(place.redis_socket_url(), THREE, 1))),
        ours("memory://", crew(place, 1, hits("memory://", THREE, 1))),
    ]
