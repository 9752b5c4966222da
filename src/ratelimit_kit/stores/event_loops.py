"""What belongs to an event loop, such as its connections, and ends with it without being asked to.

`asyncio.run` for each call, a test client, and async views under WSGI make loop after loop, and nobody calls `aclose` on
any of them. There are three ends. A loop that ends in order first closes its asynchronous generators, and one of those
closes the resource. A loop that is closed without that drops its timers, and with its timer the resource is abandoned.
Where the owner is dropped and the loop goes on, the loop aborts the resource, without a task, which could outlast it.

The loop holds the resource, not the owner: a resource refers to its loop, so that even a weak dictionary with resources
as values would keep every loop for ever.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import weakref
from collections.abc import AsyncGenerator, Callable, Sequence
from contextvars import Context
from typing import Any, Final, Generic, Protocol, TypeVar

from ratelimit_kit.waiting import is_trio

HELD_SECONDS: Final = 86_400.0
"""How long one timer holds a resource until the next one does: some loops take no timer of a month."""


class Resource(Protocol):
    """Something that is of use on one event loop only."""

    async def aclose(self) -> None:
        """Close it, on its loop."""

    def abort(self, *, loop_closed: bool) -> None:
        """End it at once: from its loop, which then takes the last steps, or after that was closed and cannot.

        May be called again when the loop was closed before those steps.
        """


R = TypeVar("R", bound=Resource)


class PerLoop(Generic[R]):
    """One resource for each event loop that asks for one; `make` must not refer to the owner of this object."""

    def __init__(self, make: Callable[[], R]) -> None:
        self._make = make
        self._held: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, weakref.ref[_Held[R]]]
        self._held = weakref.WeakKeyDictionary()
        weakref.finalize(self, _release, self._held, os.getpid()).atexit = False

    def get(self) -> R:
        """The resource of the running loop."""
        loop = asyncio.get_running_loop()
        known = self._held.get(loop)
        held = None if known is None else known()
        if held is None:
            held = _Held(self._make(), loop)
            self._held[loop] = weakref.ref(held)
        return held.resource

    async def aclose(self) -> None:
        """Close the resource of the running loop, which gets a new one when it asks again."""
        known = None if is_trio() else self._held.pop(asyncio.get_running_loop(), None)
        held = None if known is None else known()
        if held is not None:
            await held.aclose()


class _Held(Generic[R]):
    """A resource that a timer of its loop holds; nothing else may refer to this object except for a moment."""

    __slots__ = ("__weakref__", "_closer", "_loop", "_open", "_pid", "_timer", "resource")

    def __init__(self, resource: R, loop: asyncio.AbstractEventLoop) -> None:
        self.resource = resource
        self._loop = loop
        self._pid = os.getpid()
        self._open = [resource]
        self._closer = _closing(self._open)
        with contextlib.suppress(StopIteration):  # a loop knows only generators that have begun
            self._closer.__anext__().send(None)
        self._hold()

    def _hold(self) -> None:
        # An empty context, because that of the present task may refer to a request.
        timer = self._loop.call_later(HELD_SECONDS, self._hold, context=Context())
        self._timer: weakref.ref[asyncio.TimerHandle] = weakref.ref(timer)

    def release(self) -> None:
        """End the resource on its running loop, whose timer holds it no more."""
        self._open.clear()
        with contextlib.suppress(StopIteration):
            self._closer.aclose().send(None)
        self.resource.abort(loop_closed=False)
        self._loop.call_soon(self._cancel_timer)  # after the last steps, if the loop goes on for long enough

    async def aclose(self) -> None:
        self._cancel_timer()
        await self._closer.aclose()

    def _cancel_timer(self) -> None:
        timer = self._timer()
        if timer is not None:
            timer.cancel()

    def __del__(self) -> None:
        # In a forked child the sockets, and the kernel's list of those that the loop watches, are the parent's too.
        if self._loop.is_closed() and self._pid == os.getpid():
            self.resource.abort(loop_closed=True)


async def _closing(resources: Sequence[Resource]) -> AsyncGenerator[None, None]:
    """Close what there still is when the loop closes this generator at its end."""
    try:
        yield
    finally:
        for resource in resources:
            await resource.aclose()


def _release(held: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, weakref.ref[Any]], pid: int) -> None:
    """Let every loop end what it holds for an owner that is gone."""
    if pid != os.getpid():
        return
    for loop, known in list(held.items()):
        one = known()
        if one is not None:
            with contextlib.suppress(RuntimeError):  # the loop has just been closed
                loop.call_soon_threadsafe(one.release)
