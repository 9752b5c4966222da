"""States in Memcached: under which key they are kept, as which text, and for how long."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ratelimit_kit.core.durations import MAX_SPAN, MICROSECONDS
from ratelimit_kit.core.limit import Limit, check_room
from ratelimit_kit.core.sliding_window import SlidingWindow
from ratelimit_kit.core.token_bucket import TokenBucket
from ratelimit_kit.errors import StoreError
from ratelimit_kit.stores import Charge
from ratelimit_kit.stores.keys import counter_key, key_prefix
from ratelimit_kit.stores.memcached.commands import Found, Write

MAX_NUMBERS = 1_000_000 // 17
"""Numbers in a state: an item takes 1 MB with its key, and a number up to 16 digits and a space."""

MAX_LIMITS = 1024
"""Limits that are kept with what is counted by; there may be many if they depend on the request."""

MARGIN_SECONDS = 2
"""How much longer a state is kept than it matters: Memcached's own clock ticks once a second."""


class States:
    """The states of one store; `name` is its name in errors, `skew` is in microseconds."""

    def __init__(self, name: str, prefix: str, skew: int) -> None:
        self._name = name
        self._prefix = key_prefix(prefix)
        self._skew = skew
        self._counted: dict[str, Limit] = {}

    def key(self, charge: Charge) -> str:
        """The key of a charge's counter."""
        text, limit, _ = charge
        return counter_key(self._prefix, limit.counter, text)

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
        """The state that was found, or None; an empty text also means None."""
        if found is None or not (value := found.value):
            return None
        try:
            numbers = [*map(int, value.split())]
        except ValueError:
            numbers = []
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
        return Write(key, _text(limit, state), found, seconds)


LARGEST = 2**63
"""No time in microseconds and no count is larger."""


def _is_state(limit: Limit, numbers: Sequence[int]) -> bool:
    """Whether these numbers can be a state of the limit: what others have written must not break its arithmetic."""
    length = len(numbers)
    if not numbers or max(numbers) > LARGEST or min(numbers) < -LARGEST:
        return False
    if isinstance(limit, TokenBucket):
        return length == 4 and numbers[3] > 0
    if not isinstance(limit, SlidingWindow):
        return length == 3
    stamps, totals = numbers[2::2], numbers[1::2]
    return length >= 4 and length % 2 == 0 and stamps == sorted(stamps) and totals == sorted(totals)


def _text(limit: Limit, state: Any) -> bytes:
    """The text of a state: integers separated by spaces."""
    if state is None:
        return b""
    numbers = limit.dump(state)
    length = len(numbers)
    return (_FORMS[length] if length < 16 else _form(length)) % tuple(numbers)


def _form(length: int) -> bytes:
    """A format for that many integers, which is quicker than to join their texts."""
    return b" ".join([b"%d"] * length)


_FORMS = [_form(length) for length in range(16)]
