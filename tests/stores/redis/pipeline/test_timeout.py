"""A late event loop checks once more; one that is on time gives up immediately."""

from __future__ import annotations

import asyncio
import time

import pytest

from ratelimit_kit.stores.redis.pipeline.timeout import Deadline


async def test_an_answer_that_came_in_time_is_taken_by_a_loop_that_was_late() -> None:
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[str] = loop.create_future()

    async def come() -> None:
        answer.set_result("in time")

    async def wait() -> str:
        async with Deadline(loop, loop.time() + 0.05, 5):
            await asyncio.sleep(0.06)  # work that the late loop still has to do before it reads the reply
            return await answer

    waiting = loop.create_task(wait())
    await asyncio.sleep(0)
    time.sleep(0.2)  # noqa: ASYNC251 - keeps the loop busy past the deadline
    await come()
    assert await waiting == "in time"


async def test_a_loop_that_is_on_time_gives_up_at_the_deadline() -> None:
    loop = asyncio.get_running_loop()
    begun = loop.time()
    with pytest.raises(TimeoutError):
        async with Deadline(loop, begun + 0.05, 60):
            await asyncio.sleep(30)
    assert loop.time() - begun < 20


async def test_a_late_loop_gives_up_too_in_the_end() -> None:
    loop = asyncio.get_running_loop()

    async def wait() -> None:
        async with Deadline(loop, loop.time() + 0.02, 0.05):
            await asyncio.sleep(30)

    waiting = loop.create_task(wait())
    await asyncio.sleep(0)
    time.sleep(0.1)  # noqa: ASYNC251 - keeps the loop busy past the deadline
    with pytest.raises(TimeoutError):
        await waiting


async def test_what_ends_in_time_is_left_alone() -> None:
    loop = asyncio.get_running_loop()
    async with Deadline(loop, loop.time() + 0.01, 0):
        pass
    await asyncio.sleep(0.03)
