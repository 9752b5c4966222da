"""States as Memcached keeps them: whole numbers with blanks between, the same as in core."""

from __future__ import annotations

from typing import Any

from ratelimit_kit.core.limits import Limit, SlidingWindow
from ratelimit_kit.stores.memcached.commands import Found


def found_state(limit: Limit, found: Found | None) -> Any:
    """A state that was found; an empty one is none."""
    return None if found is None or not found.value else state_of(limit, found.value)


def state_of(limit: Limit, value: bytes) -> Any:
    """A state from its text."""
    numbers = map(int, value.split())
    return list(numbers) if isinstance(limit, SlidingWindow) else tuple(numbers)


def text_of(state: Any) -> bytes:
    """The text of a state."""
    return " ".join(map(str, state or ())).encode()
