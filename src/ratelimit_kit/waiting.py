"""Waiting, in whatever runs this code at that moment: threads, green threads, asyncio or trio.

Nothing is looked up when this is imported: a server such as gunicorn with `--preload` imports an application first and
lets gevent replace the standard library's functions afterwards.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from typing import Any


def sleep(seconds: float) -> None:
    """Let this thread, or green thread, wait."""
    time.sleep(seconds)


async def asleep(seconds: float) -> None:
    """Let this task wait."""
    await (sys.modules["trio"] if is_trio() else asyncio).sleep(seconds)


async def in_thread(work: Callable[..., Any], *arguments: Any) -> Any:
    """What blocking work returns that a thread does for this task."""
    if is_trio():
        return await sys.modules["trio"].to_thread.run_sync(work, *arguments)
    return await asyncio.to_thread(work, *arguments)


def is_trio() -> bool:
    """Whether trio runs this code."""
    trio: Any = sys.modules.get("trio")
    if trio is None:
        return False
    try:
        trio.lowlevel.current_task()
    except RuntimeError:
        return False
    return True
