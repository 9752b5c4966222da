"""The commands that a conversation with Memcached is made of: it yields these, and is given the answers."""

from __future__ import annotations

import random
from typing import NamedTuple

MAX_ATTEMPTS = 64
"""Times that a state is read again because somebody else has written it, before giving up."""

MAX_PAUSE_SECONDS = 0.02
"""A wait between two attempts takes this long at most; the first ones are much shorter."""


class Read(NamedTuple):
    """Read states by key; answered with a dict of Found."""

    keys: list[str]


class Found(NamedTuple):
    """What was read: the bytes, and the token to write them back with."""

    value: bytes
    token: bytes


class Write(NamedTuple):
    """Write a value if the key is still as it was found; None forgets the key. Answered with a bool."""

    key: str
    value: bytes | None
    found: Found | None
    seconds: int


class Wait(NamedTuple):
    """Wait for some seconds."""

    seconds: float


def pause(attempt: int) -> Wait:
    """A random wait that grows: those who meet once should not meet again."""
    return Wait(random.random() * min(MAX_PAUSE_SECONDS, 0.0005 * 2**attempt))  # noqa: S311 - no secret
