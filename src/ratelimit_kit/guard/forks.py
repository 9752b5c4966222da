"""Tells helper processes from servers: whether the application started this process, to do other work than serve.

A pool in a view, a Celery worker's child or a process of a script has the parent's counters in a copy, and often its
listening sockets too. It serves nobody, so it is no sibling; but what it counts, nobody else sees.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from ratelimit_kit.core.fork import in_forked_child
from ratelimit_kit.guard.checks import per_request_limiters
from ratelimit_kit.guard.workers.detection import detected, parent_by_multiprocessing

_forked_from: list[int] = []
"""The process that has forked this one, if one did since this module was imported."""

_this: list[int] = [os.getpid()]
"""This process: in a forked child, it is the parent's number until the child has noted its own."""


def is_helper() -> bool:
    """Whether a process that still runs, and is not the server's, has started this one by a fork or by multiprocessing.

    A process whose parent has ended took its place, as a daemon does.
    """
    started_by = _parent()
    if started_by is None:
        return False
    seen = detected()
    return seen is None or seen.manager != started_by


def _parent() -> int | None:
    """The process that has started this one, if it still runs."""
    if _forked_from:
        return _forked_from[0] if _forked_from[0] == os.getppid() else None
    return parent_by_multiprocessing() or _parent_of_the_same_program()


def _parent_of_the_same_program() -> int | None:
    """The parent, if it runs this very program: then it has forked this process before this module was imported."""
    parent = os.getppid()
    with contextlib.suppress(OSError, AttributeError):
        if all(_told(parent, what) == _told("self", what) for what in ("cmdline", "exe")):
            return parent
    return None


def _told(pid: int | str, what: str) -> object:
    path = Path(f"/proc/{pid}/{what}")
    return path.readlink() if what == "exe" else path.read_bytes()


def serves(*, policy: bool) -> bool:
    """Whether this process decides about a request of its own; a `policy` decides about nothing else."""
    return not per_request_limiters.is_forked_in_request() and (policy or per_request_limiters.within_request())


def _note() -> None:
    """In a forked child: who its parent is, even if that has ended already."""
    _forked_from[:], _this[:] = _this, [os.getpid()]


in_forked_child(_note)
