"""A deadline that does not expire just because the event loop itself is late.

`asyncio.timeout` gives up when its time has passed, even if the reply arrived in time and the loop was
too busy to read it: a flood of tasks would then look like an outage. Here a late loop checks once more
before it gives up.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Final

LATE_SECONDS: Final = 0.02
"""How late a timer of a loop that is not overloaded may be."""


class Deadline:
    """Async context manager: TimeoutError at `moment` (the loop's time), or in a late loop later by as much, up to `seconds`."""

    __slots__ = ("_handle", "_last", "_loop", "_moment", "_timeout")

    def __init__(self, loop: asyncio.AbstractEventLoop, moment: float, seconds: float) -> None:
        self._loop = loop
        self._moment = moment
        self._last = moment + seconds
        self._timeout = asyncio.timeout_at(self._last)
        self._handle: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> None:
        await self._timeout.__aenter__()
        self._handle = self._loop.call_at(self._moment, self._come)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._handle is not None:
            self._handle.cancel()
        await self._timeout.__aexit__(kind, error, trace)

    def _come(self) -> None:
        now = self._loop.time()
        late = now - self._moment
        self._timeout.reschedule(now if late < LATE_SECONDS else max(now, min(now + late, self._last)))
