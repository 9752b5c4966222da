"""Processes that share a file of counters: exact whatever the interleaving, and whenever one of them is killed."""

from __future__ import annotations

import asyncio
import fcntl
import os
import random
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ratelimit_kit import FixedWindow, HostStore, Limiter, SlidingWindow, TokenBucket
from ratelimit_kit.core.limit import Limit
from ratelimit_kit.errors import StoreContendedError
from ratelimit_kit.stores.host.files.file import opened

LIMITS = [SlidingWindow(100, per=3600), TokenBucket(100, per=10**6), FixedWindow(100, per="year")]
PROCESSES = 4


def forked(work: Callable[[int], None]) -> int:
    """The process that does some work; it is given its number."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            work(os.getpid())
            status = 0
        except BaseException:
            traceback.print_exc()
            raise
        finally:
            os._exit(status)
    return pid


def ended(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@contextmanager
def log(path: Path) -> Iterator[Callable[[bytes], object]]:
    """Appends to a file, in one piece each time."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        yield lambda line: os.write(descriptor, line)
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("limit", LIMITS, ids=str)
@pytest.mark.parametrize("several", [False, True], ids=["one limit", "two limits"])
def test_processes_admit_exactly_the_limit(limit: Limit, several: bool, tmp_path: Path) -> None:
    store, results = HostStore(path=tmp_path / "limits", timeout=10), tmp_path / "results"
    limiter = Limiter(limit, *([TokenBucket(10**6, per=1)] if several else []), store=store)
    limiter.peek("key")

    def work(_: int) -> None:
        with log(results) as write:
            for _ in range(60):
                write(b"1" if limiter.hit("key").allowed else b"0")

    assert [ended(pid) for pid in [forked(work) for _ in range(PROCESSES)]] == [0] * PROCESSES
    assert results.read_bytes().count(b"1") == 100
    assert len(results.read_bytes()) == 60 * PROCESSES
    assert not limiter.hit("key")


@pytest.mark.parametrize("kills", [150, pytest.param(3000, marks=pytest.mark.slow)])
def test_a_process_that_is_killed_leaves_each_state_as_it_was_or_as_it_would_be(kills: int, tmp_path: Path) -> None:
    """What was admitted is counted, what was being decided may be, and nothing else; and nobody waits for the dead."""
    store = HostStore(path=tmp_path / "limits", timeout=10, max_keys=300)
    limiters = [Limiter(limit, store=store, name=str(at)) for at, limit in enumerate([
        SlidingWindow(2**30, per=3600, resolution=38), TokenBucket(10**5, per=10**7), FixedWindow(2**30, per="year"),
    ])]  # fmt: skip
    strict = Limiter("5/day", store=store, name="strict")
    chance = random.Random(7)
    results = tmp_path / "results"

    def work(number: int) -> None:
        own = random.Random(number)
        with log(results) as write:
            while True:
                which, key = own.randrange(4), own.randrange(12)
                name = f"{which}:{key}"
                write(f"? {name}\n".encode())
                allowed = [*limiters, strict][which].hit(str(key)).allowed
                write(f"{'+' if allowed else '-'} {name}\n".encode())

    running = [forked(work) for _ in range(3)]
    for _ in range(kills):
        time.sleep(chance.uniform(0, 0.01))
        victim = chance.randrange(len(running))
        os.kill(running[victim], signal.SIGKILL)
        assert ended(running[victim]) == -signal.SIGKILL
        running[victim] = forked(work)
    for pid in running:
        os.kill(pid, signal.SIGKILL)
        ended(pid)

    asked: dict[str, int] = {}
    admitted: dict[str, int] = {}
    for line in results.read_text().splitlines():
        kind, _, name = line.partition(" ")
        asked[name] = asked.get(name, 0) + {"?": 1, "+": -1, "-": -1}[kind]
        admitted[name] = admitted.get(name, 0) + (kind == "+")
    assert sum(admitted.values()) > kills
    for name, count in admitted.items():
        which, key = map(int, name.split(":"))
        limiter = [*limiters, strict][which]
        if limiter is strict:
            more = sum(limiter.hit(str(key)).allowed for _ in range(6))
            assert 5 - asked[name] <= count + more <= 5, name
        elif which == 1:  # hardly anything refills in this time
            used = 10**5 - limiter.peek(str(key)).remaining
            assert count - 1 <= used <= count + asked[name], name
        else:
            used = 2**30 - limiter.peek(str(key)).remaining
            assert count <= used <= count + asked[name], name


@contextmanager
def holder(path: Path) -> Iterator[None]:
    """A process that holds every lock, as one that was stopped in the middle of a decision."""
    ready = os.pipe()

    def work(_: int) -> None:
        descriptor = os.open(path, os.O_RDWR)
        fcntl.lockf(descriptor, fcntl.LOCK_EX)
        os.write(ready[1], b"x")
        signal.pause()

    pid = forked(work)
    os.read(ready[0], 1)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGKILL)
        ended(pid)


def test_a_process_that_is_stopped_costs_others_a_deadline_and_its_end_nothing(tmp_path: Path) -> None:
    limiter = Limiter("5/day", store=HostStore(path=tmp_path / "limits", timeout=0.1))
    assert limiter.hit("key")
    with holder(tmp_path / "limits"):
        for call in (lambda: limiter.hit("key"), lambda: limiter.peek("key"), lambda: limiter.reset("key")):
            with pytest.raises(StoreContendedError, match=r"another process has held a lock of .*limits for 0.1 s"):
                call()
    assert limiter.hit("key").remaining == 3


async def test_the_event_loop_goes_on_meanwhile(tmp_path: Path) -> None:
    limiter = Limiter("5/day", store=HostStore(path=tmp_path / "limits", timeout=0.2))
    assert await limiter.ahit("key")
    turns = 0
    with holder(tmp_path / "limits"):
        waiting = asyncio.create_task(limiter.ahit("key"))
        while not waiting.done():
            turns += 1
            await asyncio.sleep(0.01)
    assert turns >= 5
    with pytest.raises(StoreContendedError):
        await waiting


def test_a_forked_child_goes_on_counting_and_locks_for_itself(tmp_path: Path) -> None:
    limiter = Limiter("5/day", store=HostStore(path=tmp_path / "limits"))
    assert limiter.hit("key")
    file = limiter.store._access.opened
    assert file is not None
    file.lock.acquire()  # by a thread that the child does not have
    child = forked(lambda _: os._exit(0 if limiter.hit("key").remaining == 3 else 3))
    assert ended(child) == 0
    file.lock.release()
    assert limiter.hit("key").remaining == 2


def test_processes_that_begin_together_agree_on_one_file(tmp_path: Path) -> None:
    for turn in range(40):
        limiter = Limiter("5/day", store=HostStore(path=tmp_path / str(turn), max_keys=10))

        def work(_: int, limiter: Limiter = limiter, turn: int = turn) -> None:
            with log(tmp_path / f"results-{turn}") as write:
                for _ in range(3):
                    write(b"1" if limiter.hit("key").allowed else b"0")

        assert [ended(pid) for pid in [forked(work) for _ in range(4)]] == [0] * 4
        assert (tmp_path / f"results-{turn}").read_bytes().count(b"1") == 5
    assert list(tmp_path.glob(".*")) == []


def test_what_a_maker_that_was_killed_has_left_is_no_obstacle(tmp_path: Path) -> None:
    path = tmp_path / "limits"
    Limiter("5/day", store=HostStore(path=path)).hit("key")
    opened.clear()  # as another process
    (tmp_path / ".limits.4711-0a").hardlink_to(path)  # killed after it had put the file there
    (tmp_path / ".limits.4712-0b").write_bytes(b"")
    os.utime(tmp_path / ".limits.4712-0b", (1, 1))  # killed before
    assert Limiter("5/day", store=HostStore(path=path)).hit("key").remaining == 3
    path.unlink()
    assert Limiter("5/day", store=HostStore(path=path)).hit("key").remaining == 4
    assert [one.name for one in tmp_path.iterdir()] == ["limits"]
