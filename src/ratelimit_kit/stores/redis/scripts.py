"""The scripts that run in Redis, and their arguments.

Lua has no calendar, so a fixed window is passed as the ends of the windows around the server's time, as far as
it is known here; a server whose clock is in another window says so, and the call is repeated with its time.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from importlib.resources import files
from struct import pack
from typing import Any, NamedTuple

from ratelimit_kit.core.fixed_window import FixedWindow
from ratelimit_kit.core.limit import EXACT, Limit
from ratelimit_kit.core.sliding_window import SlidingWindow
from ratelimit_kit.core.token_bucket import TokenBucket
from ratelimit_kit.stores import Charge


class Script:
    """Concatenated Lua files of this package, and the SHA-1 under which Redis caches them."""

    def __init__(self, *names: str) -> None:
        folder = files("ratelimit_kit.stores.redis").joinpath("lua")
        self.source = "\n".join(folder.joinpath(name).read_text(encoding="utf-8") for name in names)
        self.sha = hashlib.sha1(self.source.encode(), usedforsecurity=False).hexdigest()
        self.by_name = _packed(("EVALSHA", self.sha))


def scripts(clock: str) -> tuple[Script, Script]:
    """The scripts that decide and refund; `clock` is the Lua file that defines the time."""
    floor = clock, "struct.lua", "states.lua"
    return Script(*floor, "decide.lua"), Script(*floor, "refund.lua")


class PackedArguments(list[Any]):
    """Arguments of a script, packed only once, however often they are sent."""

    @cached_property
    def packed(self) -> bytes:
        """The arguments as sent, in RESP."""
        return _packed(self)

    @cached_property
    def size_with_one_key(self) -> bytes:
        """The size of a call with one key, as sent."""
        return b"*%d\r\n" % (4 + len(self))


def encode_call(
    script: Script, keys: Sequence[str], arguments: PackedArguments, *, many: int = 0, by_name: bool = True
) -> bytes:
    """The packed call of a script, by its SHA-1 (`by_name`) or by its text.

    `many` is the number of keys per decision, for a batch of several decisions.
    """
    if by_name and len(keys) == 1:
        key = keys[0].encode()  # keys are ASCII
        return b"%b%b$1\r\n1\r\n$%d\r\n%b\r\n%b" % (
            arguments.size_with_one_key, script.by_name, len(key), key, arguments.packed
        )  # fmt: skip
    head = script.by_name if by_name else _packed(("EVAL", script.source))
    tail = _packed(("many", many)) if many else b""
    number = 3 + len(keys) + (2 if many else 0) + len(arguments)
    texts = "".join([f"${len(key)}\r\n{key}\r\n" for key in (str(len(keys)), *keys)])
    return b"*%d\r\n%b%b%b%b" % (number, head, texts.encode(), tail, arguments.packed)


def encode_command(*arguments: Any) -> bytes:
    """A packed command."""
    return b"*%d\r\n%b" % (len(arguments), _packed(arguments))


def _packed(arguments: Iterable[Any]) -> bytes:
    texts = [one if isinstance(one, bytes) else str(one).encode() for one in arguments]
    return b"".join([b"$%d\r\n%b\r\n" % (len(text), text) for text in texts])


BY_SERVER = scripts("server_clock.lua")
BY_TEST = scripts("given_clock.lua")


MAX_SHAPES = 1024
"""Combinations of limits and costs whose arguments are kept, and fixed windows whose ends are."""


class Arguments:
    """Builds the scripts' arguments; `clock` (nanoseconds) replaces the server's in tests."""

    def __init__(self, clock: Callable[[], int] | None) -> None:
        self._clock = clock
        self._offset = 0
        self._ends: dict[str, tuple[int, int, int, int]] = {}
        self._known: dict[tuple[Any, ...], PackedArguments] = {}

    def decide(self, charges: Sequence[Charge], *, peek: bool = False) -> PackedArguments:
        """The arguments of decide.lua, to `peek` only if so; the same object while they do not change."""
        if peek or self._clock is not None:
            clock = [] if self._clock is None else [self._clock() // 1000]
            return PackedArguments([*(["peek"] if peek else []), *self._of(charges), *clock])
        if len(charges) == 1:
            _, limit, cost = charges[0]
            alike = self._shape_of(limit, cost)
        else:
            alike = tuple([self._shape_of(limit, cost) for _, limit, cost in charges])
        arguments = self._known.get(alike)
        if arguments is None:
            if len(self._known) >= MAX_SHAPES:
                self._known.clear()
            arguments = self._known[alike] = PackedArguments(self._of(charges))
        return arguments

    def _shape_of(self, limit: Limit, cost: int) -> tuple[Any, ...]:
        return (limit.id, cost, self._window_ends(limit)) if isinstance(limit, FixedWindow) else (limit.id, cost)

    def _of(self, charges: Sequence[Charge]) -> list[Any]:
        arguments: list[Any] = []
        for _, limit, cost in charges:
            match limit:
                case SlidingWindow():
                    shape = _shape(limit)
                    numbers = limit.limit, limit.window, limit.resolution, limit.granule
                    more = shape.stamp_modulus, shape.count_modulus, shape.stamp_size, shape.count_size
                    life = -(-limit.window // 1000)
                    arguments += ("sw", pack_doubles(cost, *numbers, *more), shape.header, shape.entry, life)
                case TokenBucket():
                    arguments += ("tb", pack_doubles(cost, limit.capacity, limit.unit, limit.rate))
                case FixedWindow():
                    arguments += ("fw", pack_doubles(cost, limit.limit, *self._window_ends(limit)))
        return arguments

    def refund(self, charges: Sequence[Charge], charged_at: int | None) -> PackedArguments:
        """The arguments of refund.lua."""
        arguments = PackedArguments()
        for _, limit, cost in charges:
            start = cost, charged_at is not None, charged_at or 0
            match limit:
                case SlidingWindow():
                    shape = _shape(limit)
                    arguments += ("sw", pack_doubles(*start, limit.window, shape.stamp_modulus, shape.stamp_size))
                case TokenBucket():
                    arguments += ("tb", pack_doubles(*start, limit.unit, limit.rate))
                case FixedWindow():
                    arguments += ("fw", pack_doubles(*start, 0 if charged_at is None else limit.window_end(charged_at)))
        if self._clock is not None:
            arguments.append(self._clock() // 1000)
        return arguments

    def learn_calendar(self, server_time: int) -> None:
        """Follow the server's clock (microseconds) where this machine's is in another calendar window."""
        self._offset = server_time - self._local_time()

    def _local_time(self) -> int:
        return (self._clock or time.time_ns)() // 1000

    def _window_ends(self, limit: FixedWindow) -> tuple[int, int, int, int]:
        now = self._local_time() + self._offset
        ends = self._ends.get(limit.counter)
        if ends is None or not ends[1] <= now < ends[2]:
            start, end = _window_start(limit, now), limit.window_end(now)
            ends = _window_start(limit, start - 1), start, end, limit.window_end(end)
            if len(self._ends) >= MAX_SHAPES:  # as with an anchor for each client
                self._ends.clear()
            self._ends[limit.counter] = ends
        return ends


def _window_start(limit: FixedWindow, now: int) -> int:
    """The end of the window before the one that holds `now`."""
    start = limit.window_end(now - limit.max_lifetime)
    while (end := limit.window_end(start)) <= now:
        start = end
    return start


class _Shape(NamedTuple):
    """How the scripts pack the log of a sliding window.

    The `struct` formats of its header and of an entry; the moduli and the bytes of stamps and counts.
    """

    header: str
    entry: str
    stamp_modulus: int
    count_modulus: int
    stamp_size: int
    count_size: int


def _shape(limit: SlidingWindow) -> _Shape:
    """The shape with the fewest bytes that distinguish all stamps within a window and all counts within a limit."""
    stamp, stamp_modulus, stamp_size = _number(limit.window)
    count, count_modulus, count_size = _number(limit.limit)
    header, entry = f"<ddI1{count}{count}", f"<{stamp}{count}"
    return _Shape(header, entry, stamp_modulus, count_modulus, stamp_size, count_size)


def _number(largest: int) -> tuple[str, int, int]:
    """Format, modulus and bytes of the narrowest number up to `largest`; 32-bit servers do not support `I5`."""
    for size in (1, 2, 3, 4):
        if largest < 256**size:
            return f"I{size}", 256**size, size
    return "d", EXACT, 8


def pack_doubles(*numbers: int) -> bytes:
    """Integers as the scripts read them: packed as doubles, the only numbers in Lua."""
    return pack(f"<{len(numbers)}d", *numbers)
