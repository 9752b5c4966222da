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

_ARG_START, _ENV_END = 45, 49
"""Where these stand in /proc/PID/stat after the name (proc_pid_stat(5)); they are 0 where that may not be read."""

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
    return parent_by_multiprocessing() or _parent_without_exec()


def _parent_without_exec() -> int | None:
    """The parent, if it has forked this process before this module was imported: then both have one command in one place."""
    parent = os.getppid()
    with contextlib.suppress(OSError, IndexError):
        here, there = _started_as("self"), _started_as(str(parent))
        if here == there and here[1][0] != "0":
            return parent
    return None


def _started_as(pid: str) -> tuple[bytes, list[str]]:
    """A command, and where in memory it and its environment lie: exec(2) chooses other places, fork(2) keeps them."""
    process = Path("/proc", pid)
    fields = (process / "stat").read_text().rpartition(")")[2].split()
    return (process / "cmdline").read_bytes(), fields[_ARG_START:_ENV_END]


def serves(*, policy: bool) -> bool:
    """Whether this process decides about a request of its own; a `policy` decides about nothing else."""
    return not per_request_limiters.is_forked_in_request() and (policy or per_request_limiters.within_request())


def _note() -> None:
    """In a forked child: who its parent is, even if that has ended already."""
    _forked_from[:], _this[:] = _this, [os.getpid()]


in_forked_child(_note)
