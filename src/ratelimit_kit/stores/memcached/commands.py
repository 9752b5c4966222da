"""The commands of a conversation with Memcached: it yields these and is sent their results."""

from __future__ import annotations

import random
from typing import NamedTuple

MAX_ATTEMPTS = 64
"""How often a state that others keep changing is tried before giving up."""

MAX_PAUSE_SECONDS = 0.02
"""The longest wait between two attempts; the first waits are much shorter."""


class Read(NamedTuple):
    """Read states by key; the result is a dict of Found."""

    keys: list[str]


class Found(NamedTuple):
    """A value that was read, and the token for writing it back."""

    value: bytes
    token: bytes


class Write(NamedTuple):
    """Write a value if the key is unchanged since it was found; None deletes the key. The result is a bool."""

    key: str
    value: bytes | None
    found: Found | None
    seconds: int


class Wait(NamedTuple):
    """Wait `seconds`."""

    seconds: float


def pause(attempt: int) -> Wait:
    """A random, growing wait, so that callers that collided once do not collide again."""
    return Wait(random.random() * min(MAX_PAUSE_SECONDS, 0.0005 * 2**attempt))  # noqa: S311 - no secret
