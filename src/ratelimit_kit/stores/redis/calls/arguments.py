"""The scripts' arguments: the numbers of limits and costs, packed as the scripts read them.

Lua has no calendar, so a fixed window is passed as the ends of the windows around the server's time, as far as
it is known here; a server whose clock is in another window says so, and the call is repeated with its time.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from struct import pack
from typing import Any, NamedTuple

from ratelimit_kit.core.fixed_window import FixedWindow
from ratelimit_kit.core.limit import EXACT
from ratelimit_kit.core.sliding_window import SlidingWindow
from ratelimit_kit.core.token_bucket import TokenBucket
from ratelimit_kit.stores import Charge

MAX_WINDOWS = 1024
"""Fixed windows whose ends are kept."""


class Arguments:
    """Builds the scripts' arguments; `clock` (nanoseconds) replaces the server's in tests."""

    def __init__(self, clock: Callable[[], int] | None) -> None:
        self._clock = clock
        self._offset = 0
        self._ends: dict[str, tuple[int, int, int, int]] = {}

    def decide(self, charges: Sequence[Charge], *, peek: bool = False) -> list[Any]:
        """The arguments of decide.lua, to `peek` only if so."""
        arguments: list[Any] = ["peek"] if peek else []
        for _, limit, cost in charges:
            match limit:
                case SlidingWindow():
                    packing = _packing(limit)
                    numbers = limit.limit, limit.window, limit.resolution, limit.granule
                    more = packing.stamp_modulus, packing.count_modulus, packing.stamp_size, packing.count_size
                    life = -(-limit.window // 1000)
                    arguments += ("sw", pack_doubles(cost, *numbers, *more), packing.header, packing.entry, life)
                case TokenBucket():
                    arguments += ("tb", pack_doubles(cost, limit.capacity, limit.unit, limit.rate))
                case FixedWindow():
                    arguments += ("fw", pack_doubles(cost, limit.limit, *self._window_ends(limit)))
        return [*arguments, *self._given_time()]

    def validity(self, charges: Sequence[Charge]) -> tuple[float, float]:
        """From when until when (microseconds, see `local_time`) the arguments of decide.lua are the same."""
        if self._clock is not None:
            return math.inf, -math.inf
        ends = [self._window_ends(limit) for _, limit, _ in charges if isinstance(limit, FixedWindow)]
        return max([one[1] for one in ends], default=-math.inf), min([one[2] for one in ends], default=math.inf)

    def refund(self, charges: Sequence[Charge], charged_at: int | None) -> list[Any]:
        """The arguments of refund.lua."""
        arguments: list[Any] = []
        for _, limit, cost in charges:
            start = min(cost, EXACT), charged_at is not None, charged_at or 0
            match limit:
                case SlidingWindow():
                    packing = _packing(limit)
                    arguments += ("sw", pack_doubles(*start, limit.window, packing.stamp_modulus, packing.stamp_size))
                case TokenBucket():
                    arguments += ("tb", pack_doubles(*start, limit.unit, limit.rate))
                case FixedWindow():
                    arguments += ("fw", pack_doubles(*start, 0 if charged_at is None else limit.window_end(charged_at)))
        return [*arguments, *self._given_time()]

    def learn_calendar(self, server_time: int) -> None:
        """Follow the server's clock (microseconds) where this machine's is in another calendar window."""
        self._offset += server_time - self.local_time()

    def local_time(self) -> int:
        """The server's time in microseconds, as far as it is known here."""
        return (self._clock or time.time_ns)() // 1000 + self._offset

    def _given_time(self) -> list[int]:
        return [] if self._clock is None else [self._clock() // 1000]

    def _window_ends(self, limit: FixedWindow) -> tuple[int, int, int, int]:
        now = self.local_time()
        ends = self._ends.get(limit.counter)
        if ends is None or not ends[1] <= now < ends[2]:
            start, end = _window_start(limit, now), limit.window_end(now)
            ends = _window_start(limit, start - 1), start, end, limit.window_end(end)
            if len(self._ends) >= MAX_WINDOWS:  # as with an anchor for each client
                self._ends.clear()
            self._ends[limit.counter] = ends
        return ends


def _window_start(limit: FixedWindow, now: int) -> int:
    """The end of the window before the one that holds `now`."""
    start = limit.window_end(now - limit.max_lifetime)
    while (end := limit.window_end(start)) <= now:
        start = end
    return start


class _Packing(NamedTuple):
    """How the scripts pack the log of a sliding window.

    The `struct` formats of its header and of an entry; the moduli and the bytes of stamps and counts.
    """

    header: str
    entry: str
    stamp_modulus: int
    count_modulus: int
    stamp_size: int
    count_size: int


def _packing(limit: SlidingWindow) -> _Packing:
    """The packing with the fewest bytes that distinguish all stamps within a window and all counts within a limit."""
    stamp, stamp_modulus, stamp_size = _number(limit.window)
    count, count_modulus, count_size = _number(limit.limit)
    header, entry = f"<ddI1{count}{count}", f"<{stamp}{count}"
    return _Packing(header, entry, stamp_modulus, count_modulus, stamp_size, count_size)


def _number(largest: int) -> tuple[str, int, int]:
    """Format, modulus and bytes of the narrowest number up to `largest`; 32-bit servers do not support `I5`."""
    for size in (1, 2, 3, 4):
        if largest < 256**size:
            return f"I{size}", 256**size, size
    return "d", EXACT, 8


def pack_doubles(*numbers: int) -> bytes:
    """Integers as the scripts read them: packed as doubles, the only numbers in Lua."""
    return pack(f"<{len(numbers)}d", *numbers)
