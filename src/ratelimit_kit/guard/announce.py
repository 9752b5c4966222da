"""Chooses which of several workers prints a message: whichever is first.

Workers that start together all find the same problem. They agree through a small file per parent process,
under a record lock, in the folder of the socket locks. Worker numbers are not enough: on a busy machine the
second worker may fail, and the server may stop all of them, before the first one prints anything.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from pathlib import Path

from ratelimit_kit.guard import socket_locks

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

REPEAT_SECONDS = 30.0
"""How long the same message is not printed again; after that it is another start."""


def is_first(message: str) -> bool | None:
    """Whether no other child of this process's parent has printed `message`; None if they cannot agree."""
    folder = socket_locks.own_folder()
    if folder is None or fcntl is None:
        return None
    path = folder / ("said-" + hashlib.sha256(f"{os.getppid()}\0{message}".encode()).hexdigest()[:32])
    try:
        with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600), "r+") as file:
            fcntl.lockf(file, fcntl.LOCK_EX)  # held only for these lines
            said, now = file.read(), f"{_birth(os.getppid())} {time.time():.1f}"
            if _is_recent(said, now):
                return False
            file.seek(0)
            file.write(now)
            file.truncate()
            file.flush()
    except OSError:
        return None
    return True


def _is_recent(said: str, now: str) -> bool:
    """Whether a child of the same parent printed it a moment ago; a reused pid has another start time."""
    with contextlib.suppress(ValueError, IndexError):
        before, after = said.split(), now.split()
        return before[0] == after[0] and 0 <= float(after[1]) - float(before[1]) < REPEAT_SECONDS
    return False


def _birth(pid: int) -> str:
    """When a process was started, in kernel ticks; "?" if that is not visible."""
    with contextlib.suppress(OSError, IndexError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    return "?"
