"""A program whose helper processes decide: `helpers.py HOW`; prints how many of 40 hits were admitted."""

import multiprocessing
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor

from given_store import given_store

from ratelimit_kit import Limiter

limiter = Limiter("5/minute", store=given_store(), name="api", on_unsafe=os.environ.get("ON_UNSAFE", "shutdown"))


def call(number: int) -> bool:
    """One hit, slow enough for every process of a pool to have some."""
    time.sleep(0.01)
    return limiter.hit("key").allowed


def by_fork() -> int:
    """The hits of one child, which is made by hand."""
    read, write = os.pipe()
    if os.fork() == 0:
        os.write(write, bytes([sum(map(call, range(40)))]))
        os._exit(0)
    os.wait()
    return os.read(read, 1)[0]


def by_daemon() -> int:
    """The hits of a process whose parents have ended before: it took their place."""
    read, write = os.pipe()
    if os.fork() == 0:
        if os.fork() == 0:
            time.sleep(0.1)
            os.write(write, bytes([sum(map(call, range(40)))]))
        os._exit(0)
    os.wait()
    return os.read(read, 1)[0]


def by_pool(method: str) -> int:
    """The hits of two processes of multiprocessing."""
    with multiprocessing.get_context(method).Pool(2) as pool:
        return sum(pool.map(call, range(40), chunksize=1))


def by_executor() -> int:
    """The hits of two processes of concurrent.futures."""
    with ProcessPoolExecutor(2) as pool:
        return sum(pool.map(call, range(40)))


if __name__ == "__main__":
    how = {"fork": by_fork, "daemon": by_daemon, "executor": by_executor}
    admitted = how[sys.argv[1]]() if sys.argv[1] in how else by_pool(sys.argv[1].removeprefix("pool-"))
    print("admitted", admitted, "and here", sum(map(call, range(10))))
