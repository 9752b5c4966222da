"""Permits: none is lost, whoever waits for one and however that wait ends."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from ratelimit_kit.stores.pool import Permits


def test_a_permit_that_is_returned_goes_to_whoever_waits() -> None:
    permits = Permits(1)
    assert permits.acquire(0)
    assert not permits.acquire(0)
    assert not permits.acquire(0.01)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(permits.acquire, 20)
        while not permits._waiting:
            threading.Event().wait(0.001)
        permits.release()
        assert waiting.result()
    permits.release()
    assert permits.acquire(0)


def test_many_threads_use_no_more_than_there_are_and_lose_none() -> None:
    permits, used, most = Permits(3), [0], [0]
    lock = threading.Lock()

    def use() -> None:
        for _ in range(200):
            assert permits.acquire(20)
            with lock:
                used[0] += 1
                most[0] = max(most[0], used[0])
            with lock:
                used[0] -= 1
            permits.release()

    with ThreadPoolExecutor(12) as pool:
        for done in [pool.submit(use) for _ in range(12)]:
            done.result()
    assert most[0] <= 3
    assert [permits.acquire(0) for _ in range(4)] == [True, True, True, False]


@pytest.mark.parametrize("handed_over", [True, False])
def test_a_wait_that_is_interrupted_keeps_no_permit(handed_over: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A green thread may be killed while it waits. Its lock is made when it waits, so that patching is seen."""
    permits = Permits(1)
    assert permits.acquire(0)

    class Killed:
        def acquire(self, timeout: float | None = None) -> bool:
            if timeout is None:
                return True
            if handed_over:
                permits.release()
            raise KeyboardInterrupt

        def release(self) -> None:
            """Let nobody go on."""

    with monkeypatch.context() as patch:
        made: Any = Killed
        patch.setattr(threading, "Lock", made)
        with pytest.raises(KeyboardInterrupt):
            permits.acquire(20)
    assert permits.acquire(0) is handed_over
    permits.release()
    assert permits.acquire(0)
