"""Renews objects in a forked child, where a lock may stay held forever and sockets belong to the parent.

Python tells of its own forks. uWSGI forks its workers without a word to Python, and has a hook instead.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from threading import Lock
from typing import Any, Final
from weakref import WeakSet

_renewers: list[Callable[[], None]] = []
_renewed_in = [os.getpid()]


def in_forked_child(renew: Callable[[], None]) -> None:
    """Call `renew` in every child that is forked from now on, before its own code runs."""
    _renewers.append(renew)
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=renew)


def catch_up() -> None:
    """Renew everything, if this process was forked without a word to Python."""
    if _renewed_in[0] != os.getpid():
        for renew in _renewers:
            renew()


def _note() -> None:
    _renewed_in[0] = os.getpid()


in_forked_child(_note)


def hook_uwsgi() -> None:
    """Have uWSGI renew everything in its workers, after what the application has put there."""
    module: Any = sys.modules.get("uwsgi")
    if module is None:
        return
    before = getattr(module, "post_fork_hook", None)

    def post_fork() -> None:
        catch_up()
        if before is not None:
            before()

    module.post_fork_hook = post_fork


hook_uwsgi()


def each_in_forked_child(renew: Callable[[Any], None]) -> WeakSet[Any]:
    """A set whose living members are passed to `renew` in every forked child."""
    members: WeakSet[Any] = WeakSet()

    def renew_each() -> None:
        for member in list(members):
            renew(member)

    in_forked_child(renew_each)
    return members


def around_each_fork(members: WeakSet[Any]) -> None:
    """Call `before_fork` of each living member before every fork, and `after_fork` afterwards in the parent."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(
            before=lambda: [member.before_fork() for member in list(members)],
            after_in_parent=lambda: [member.after_fork() for member in list(members)],
        )


def _renew_lock(owner: Any) -> None:
    owner._lock = Lock()  # noqa: SLF001 - those who ask for it


with_lock: Final = each_in_forked_child(_renew_lock)
"""Objects whose `_lock` is made anew in every forked child: a thread of the parent may have held it, and is not there."""
