"""Chooses which of several workers prints a message: whichever is first.

Workers that start together all find the same problem. Worker numbers are not enough: on a busy machine the
second worker may fail, and the server may stop all of them, before the first one prints anything.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from ratelimit_kit.guard import claims


def is_first(message: str) -> bool | None:
    """Whether no other child of this process's parent is printing `message`; None if they cannot agree.

    They agree as long as the first one runs, so it must wait a little before it exits.
    """
    parent = os.getppid()
    try:
        return claims.claim("said", str(parent), _birth(parent), message) is None
    except claims.NoProofError:
        return None


def _birth(pid: int) -> str:
    """When a process was started, in kernel ticks: a reused pid has another; "?" if that is not visible."""
    with contextlib.suppress(OSError, IndexError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    return "?"
