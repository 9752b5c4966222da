"""The steps of a conversation with Memcached: it yields these and is sent what is found, by key or by server."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, NamedTuple

MAX_PAUSE_SECONDS = 0.02
"""The longest wait between two attempts; the first waits are much shorter."""


class Found(NamedTuple):
    """A value that was read, and the token for writing it back."""

    value: bytes
    token: bytes


class Refused(NamedTuple):
    """Stands in a reply for what the server has refused, and says in its words why."""

    line: str


class Read(NamedTuple):
    """Read states; the result is a dict of Found by key."""

    keys: Sequence[str]


class Write(NamedTuple):
    """Write a value if the key is unchanged since it was found; None deletes the key."""

    key: str
    value: bytes | None
    found: Found | None
    seconds: int


class Writes(NamedTuple):
    """Send several writes at once, to different keys; the result says by key whether each was made."""

    writes: Sequence[Write]


class Ask(NamedTuple):
    """Ask every server for its `version` or `stats`; the result is what each reports, by its name."""

    command: str


class Wait(NamedTuple):
    """Wait `seconds`, because others have changed a state meanwhile; the result is None."""

    seconds: float


Step = Read | Writes | Ask | Wait

Answer = Any
"""The result of a step."""


def pause(attempt: int) -> Wait:
    """A random, growing wait, so that callers that collided once do not collide again."""
    return Wait(random.random() * min(MAX_PAUSE_SECONDS, 0.0005 * 2 ** min(attempt, 6)))  # noqa: S311 - no secret
