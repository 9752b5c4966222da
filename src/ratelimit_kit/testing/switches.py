"""Switches for an application's tests: limits off, counters reset, a manual clock."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any
from unittest import mock

from ratelimit_kit.core.decision import Decision, Verdict
from ratelimit_kit.limiter import Limiter
from ratelimit_kit.stores import Store
from ratelimit_kit.stores.memory.store import STORES, keep_time_by
from ratelimit_kit.testing.clock import ManualClock
from ratelimit_kit.web.policy.policy import Policy
from ratelimit_kit.web.response.result import PASS, CheckResult


@contextlib.contextmanager
def disabled() -> Iterator[None]:
    """Switch off limiting and counting in all threads of this process; also a decorator for test functions.

    Limiters, decorated functions and views, and policies admit everything.
    """
    with contextlib.ExitStack() as patches:
        for owner, name, replacement in (
            (Limiter, "hit", _admitted),
            (Limiter, "ahit", _aadmitted),
            (Limiter, "peek", _admitted),
            (Limiter, "apeek", _aadmitted),
            (Policy, "check", _passed),
            (Policy, "acheck", _apassed),
        ):
            patches.enter_context(mock.patch.object(owner, name, replacement))
        yield


def reset_all(*stores: Store) -> None:
    """Clear all counters of this process's memory stores, and of the given `stores`.

    A given store needs its own method `clear`, as MemoryStore and RedisStore have; on Redis it deletes all keys with
    the store's prefix.
    """
    for store in (*STORES, *stores):
        clear = getattr(store, "clear", None)
        if clear is None:
            raise TypeError(f"{store!r} cannot be cleared: give the tests a store of their own, such as memory://")
        clear()


@contextlib.contextmanager
def manual_time(start: float = 1_800_000_000.0) -> Iterator[ManualClock]:
    """Make every memory store of this process use one ManualClock, with empty counters before and after.

    `start` is in seconds since the epoch. Stores with a clock of their own keep it.
    """
    clock = ManualClock(start)
    keep_time_by(clock)
    try:
        yield clock
    finally:
        keep_time_by(None)


def _admitted(limiter: Limiter, *_: Any, **__: Any) -> Decision:
    return Decision([Verdict(True, limit, limit.max_cost, 0, 0) for limit in limiter.limits])


async def _aadmitted(limiter: Limiter, *_: Any, **__: Any) -> Decision:
    return _admitted(limiter)


def _passed(*_: Any, **__: Any) -> CheckResult:
    return PASS


async def _apassed(*_: Any, **__: Any) -> CheckResult:
    return PASS
