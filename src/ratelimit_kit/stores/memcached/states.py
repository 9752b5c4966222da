"""States in Memcached: under which key they are kept, as which bytes, and for how long."""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct
from typing import Any

from ratelimit_kit.core.durations import MAX_SPAN, MICROSECONDS
from ratelimit_kit.core.limit import Limit, check_room
from ratelimit_kit.core.sliding_window import SlidingWindow
from ratelimit_kit.core.token_bucket import TokenBucket
from ratelimit_kit.errors import StoreError
from ratelimit_kit.stores import Charge
from ratelimit_kit.stores.keys import counter_key, key_prefix
from ratelimit_kit.stores.memcached.commands import Found, Write

MAX_NUMBERS = 500_000 // 8
"""Numbers in a state, of eight bytes: half of what an item takes, as each hit carries the whole state to and fro."""

MAX_LIMITS = 1024
"""Limits that are kept with what is counted by; there may be many if they depend on the request."""

FORMAT = 3
"""The format of states: those of another format are not read."""

MARK = FORMAT
"""The first byte of a state; what does not begin with it was written by somebody else."""

MARGIN_SECONDS = 2
"""How much longer a state is kept than it matters: Memcached's own clock ticks once a second."""


class States:
    """The states of one store; `name` is its name in errors, `skew` is in microseconds."""

    def __init__(self, name: str, prefix: str, skew: int) -> None:
        self._name = name
        self._prefix = key_prefix(prefix, FORMAT)
        self._skew = skew
        self._counted: dict[str, Limit] = {}

    def key(self, charge: Charge) -> str:
        """The key of a charge's counter."""
        text, limit, _ = charge
        return counter_key(self._prefix, limit.counter, text)

    def key_of(self, what: str, name: str) -> str:
        """The key of something else than a counter."""
        return counter_key(self._prefix, what, name)

    def counting(self, limit: Limit) -> Limit:
        """The limit to count by: a sliding window is extended by the skew of the clocks, and its log must have room."""
        if not isinstance(limit, SlidingWindow):
            return limit
        counted = self._counted.get(limit.id)  # quicker than by the limit, whose hash is not kept
        if counted is None:
            check_room([limit], MAX_NUMBERS, "Memcached")
            if len(self._counted) >= MAX_LIMITS:
                self._counted.clear()
            window = f"{min(limit.window + self._skew, MAX_SPAN)} us"
            counted = self._counted[limit.id] = SlidingWindow(limit.limit, window, resolution=limit.resolution)
        return counted

    def load(self, limit: Limit, found: Found | None) -> Any:
        """The state that was found, or None; an empty value also means None."""
        if found is None or not (value := found.value):
            return None
        length, rest = divmod(len(value), 8)
        numbers = _packing(length).unpack(value)[1:] if rest == 1 and value[0] == MARK else ()
        if not _is_state(limit, numbers):
            raise StoreError(
                f"{self._name}: a counter of the limit {limit} holds {value[:40]!r}, which is not a state. Does another "
                "program write to this Memcached under the same prefix? ratelimit-kit reset KEY deletes it; prefix= gives the "
                "store keys of its own"
            )
        return limit.load(numbers)

    def write(self, key: str, limit: Limit, state: Any, found: Found | None, lifetime: int) -> Write:
        """Write a state that matters for `lifetime` microseconds, unless what was found has changed; None deletes it."""
        seconds = -(-(lifetime + self._skew) // MICROSECONDS) + MARGIN_SECONDS
        return Write(key, _packed(limit, state), found, seconds)


def _is_state(limit: Limit, numbers: Sequence[int]) -> bool:
    """Whether these numbers can be a state of the limit: what others have written must not break its arithmetic."""
    length = len(numbers)
    if isinstance(limit, TokenBucket):
        return length == 4 and numbers[3] > 0
    if not isinstance(limit, SlidingWindow):
        return length == 3
    stamps, totals = numbers[2::2], numbers[1::2]
    return length >= 4 and length % 2 == 0 and _ascends(stamps) and _ascends(totals)


def _ascends(numbers: Sequence[int]) -> bool:
    return list(numbers) == sorted(numbers)


def _packed(limit: Limit, state: Any) -> bytes:
    """A state as bytes: the mark, then integers of 64 bits."""
    if state is None:
        return b""
    numbers = limit.dump(state)
    return _packing(len(numbers)).pack(MARK, *numbers)


def _packing(length: int) -> Struct:
    """The format of a state of so many numbers."""
    return _FORMS[length] if length < len(_FORMS) else Struct(f"<B{length}q")


_FORMS = [Struct(f"<B{length}q") for length in range(80)]
"""The formats of nearly all states, which are compiled only once."""
