"""States as the bytes of a slot: `digest until count clock numbers`, in as little time as possible.

A log of a sliding window may have a hundred numbers, of which a hit changes a few: what stayed as it was is not written
out again, and what this process has read or written last is not read out again.
"""

from __future__ import annotations

from struct import Struct
from typing import Any, Final

from ratelimit_kit.core.limit import Limit
from ratelimit_kit.errors import StoreError
from ratelimit_kit.stores.host.files.layout import HEAD, MAX_NUMBERS, numbers

BEGINNING: Final = Struct(HEAD.format + "4q")
"""A head, and the numbers of a log before those between its first group and its last."""

END: Final = Struct("2q")
SPLICED_FROM: Final = 16
"""How many numbers a log has at least that is not written out as a whole."""

MAX_STATES: Final = 512
"""How many long states a process remembers for a file."""

Remembered = dict[bytes, tuple[bytes, Any]]
"""Long states by digest, with the bytes of which they were made."""


def read(limit: Limit, content: bytes, remembered: Remembered) -> Any:
    """The state in a slot."""
    digest, _, count, _ = HEAD.unpack_from(content)
    if count < SPLICED_FROM:
        return limit.load(numbers(count).unpack_from(content, HEAD.size))
    known = remembered.get(digest)
    size = HEAD.size + 8 * count
    if known is not None and content.startswith(known[0]) and len(known[0]) == size:
        return known[1]
    state = limit.load(numbers(count).unpack_from(content, HEAD.size))
    remember(remembered, digest, content[:size], state)
    return state


def write(digest: bytes, limit: Limit, state: Any, now: int, clock: int, remembered: Remembered) -> bytes:
    """A slot with this state."""
    until = now + limit.lifetime(state, now)
    known = remembered.get(digest)
    if known is not None and len(state) == 7 and state[6] is known[1][6]:  # nothing between has changed
        born, base, first, reached, last, total, between = state
        head = BEGINNING.pack(digest, until, len(between) + 6, clock, born, base, first, reached)
        content: bytes = head + known[0][BEGINNING.size : -END.size] + END.pack(last, total)
    else:
        dumped = limit.dump(state)
        count = len(dumped)
        if count > MAX_NUMBERS:
            raise StoreError(f"the state of {limit} has {count} numbers, and a slot has room for {MAX_NUMBERS}")
        content = HEAD.pack(digest, until, count, clock) + numbers(count).pack(*dumped)
        if count < SPLICED_FROM:
            return content
    remember(remembered, digest, content, state)
    return content


def remember(remembered: Remembered, digest: bytes, content: bytes, state: Any) -> None:
    """Remember a long state."""
    if len(remembered) >= MAX_STATES and digest not in remembered:
        remembered.clear()
    remembered[digest] = content, state
