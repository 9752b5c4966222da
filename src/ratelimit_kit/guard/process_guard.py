"""The guard of a store that counts per process: only one process may use it.

It checks twice. When a limiter is built, several workers that the user declares or the server shows are
refused. Before the first decision of a process (and again in each forked child), it checks the server once
more, and the socket locks: a process that finds a sibling admits nothing more.
"""

from __future__ import annotations

import logging
import math
import os
import sys
import time
import weakref
from typing import Literal, get_args

from ratelimit_kit.core.events import Event, Listener
from ratelimit_kit.core.fork import in_forked_child
from ratelimit_kit.core.validation import check_switch, nearest
from ratelimit_kit.errors import LateWorkersError, OptionError, StartupRefused
from ratelimit_kit.guard import messages, per_request_limiters, socket_locks
from ratelimit_kit.guard.abort import end_the_server, end_this_process, leave, refuse
from ratelimit_kit.guard.worker_count import Workers, declared
from ratelimit_kit.guard.worker_detection import detected

OnUnsafe = Literal["shutdown", "deny", "warn"]

OVERLAP_SECONDS = 5.0
"""How long a process waits for a sibling to exit: two generations overlap in a graceful reload."""

RECHECK_SECONDS = 1.0
"""Interval between checks while a process does not listen yet, or waits for a sibling to exit."""

WATCH_SECONDS = 10.0
"""How long a process keeps checking after the first check."""


class ProcessGuard:
    """Ensures that only one process uses `store` (its name in messages).

    `alert` is true while `admits` must be called before a decision; `problem` is what was found.
    `serves` is true if every decision is about a request. A store that is not `per_process` needs no
    guard, but its options are checked.
    """

    def __init__(
        self,
        store: str,
        listener: Listener,
        *,
        per_process: bool,
        serves: bool,
        workers: int | None,
        allow_per_process: bool,
        on_unsafe: OnUnsafe,
        remedy: str = "",
    ) -> None:
        if on_unsafe not in get_args(OnUnsafe):
            raise OptionError(
                f"on_unsafe={on_unsafe!r} is not a valid choice; {nearest(on_unsafe, get_args(OnUnsafe))}"
            )
        self._store = store
        self._declared = _Declared(
            store, per_process, workers, check_switch("allow_per_process", allow_per_process), remedy
        )
        self._serves = serves
        self._listener = listener
        self._on_unsafe = on_unsafe
        self._renew()
        _guards.add(self)

    def _renew(self) -> None:
        self.alert = self._declared.per_process
        self.problem: StartupRefused | None = None
        self._told = self._leaving = False
        self._looks = _Looks()

    @property
    def closed(self) -> bool:
        """Whether this process admits nothing because of a sibling."""
        return self.problem is not None and self._on_unsafe != "warn"

    @property
    def refusal_to_begin(self) -> StartupRefused | None:
        """The reason not to start, for a server that asks; None if this process may start."""
        return self.problem if self._on_unsafe == "shutdown" else None

    def start(self) -> None:
        """Raise UnsafeWorkersError if several workers are declared or detected; other processes are not searched for.

        A worker added to a running server follows `on_unsafe`.
        """
        error = self.refusal()
        if error is None:
            self._declared.log_if_allowed()
        elif isinstance(error, LateWorkersError) and self._on_unsafe != "shutdown":
            self._found(error)
            self.tell()
        else:
            refuse(error)

    def refusal(self) -> StartupRefused | None:
        """The error that `start` would raise, or None."""
        return self._declared.refusal()

    def is_calm(self) -> bool:
        """Whether the last check found nothing, and the next one is not due."""
        return self.problem is None and time.monotonic() < self._looks.next

    def admits(self) -> bool | None:
        """Whether this process may decide; None if a sibling may be about to exit: then ask again a little later."""
        now = time.monotonic()
        if now < self._looks.next:
            return not self.closed
        if self._declared.settles():
            return self._settled()
        seen = detected()
        if seen is not None and seen.count > 1:
            self._looks.per_request = seen.per_request
            self._looks.next = math.inf  # the number no longer changes for this process
            return self._found(self._declared.several(seen, late=seen.late))
        return self._ask_the_socket_locks(now, by_server=seen is not None)

    def recheck(self) -> None:
        """Check for a sibling during a health check, with the same consequences as before a decision."""
        if self.alert and self.admits() is False:
            self.turn_away()

    def _ask_the_socket_locks(self, now: float, *, by_server: bool) -> bool | None:
        """Look for a sibling: several servers with one worker each may share a socket, so their numbers are not enough.

        Another worker of the same server can only be a predecessor or successor.
        """
        self._looks.first = now if self._looks.first is None else self._looks.first
        addresses = socket_locks.listening_addresses()
        sibling = socket_locks.on_the_same_socket(addresses)
        if not addresses or sibling is None or (by_server and sibling.parent == os.getppid()):
            return self._alone(now, listens=bool(addresses), locked=sibling is None, by_server=by_server)
        if not self._serves and not per_request_limiters.within_request():
            return self._settled()  # a child that inherited a socket but does other work
        self._looks.since = now if self._looks.since is None else self._looks.since
        if now < self._looks.since + OVERLAP_SECONDS and self.problem is None:
            return None
        self._looks.next = now + RECHECK_SECONDS
        return self._found(messages.sibling(self._store, sibling))

    def _alone(self, now: float, *, listens: bool, locked: bool, by_server: bool) -> bool:
        """Continue, and keep checking for a while: the serving socket may begin to listen after another one."""
        self._looks.since = None
        if self.problem is not None:
            self._settled()
            self.alert = True
        self._looks.next = now + RECHECK_SECONDS
        looked_enough = listens and locked and now >= (self._looks.first or now) + WATCH_SECONDS
        no_other_port = by_server or (listens and self._has_other_ports(now) is None)
        if no_other_port and looked_enough:
            self._settled()
        return True

    def _has_other_ports(self, now: float) -> bool | None:
        """Whether a sibling listens on another port; once it has stayed for a while, log a warning and return None."""
        if self._looks.warned or "PYTEST_XDIST_WORKER" in os.environ:
            return None
        sibling = socket_locks.on_another_port()
        if sibling is None:
            return None
        if now < (self._looks.first or now) + OVERLAP_SECONDS:
            return True
        self._looks.warned = True
        warning = messages.other_port(self._store, sibling)
        self._listener(Event("other-port", str(warning), logging.WARNING, {"warning": warning.rlk, "pid": sibling.pid}))
        return None

    def _settled(self) -> bool:
        if self.problem is not None:
            self._listener(Event("sole-worker", f"{self._store} is used by one process again.", logging.WARNING))
        self.problem = None
        self._told = False
        self.alert = False
        return True

    def tell(self) -> None:
        """Report what was found, once."""
        if self.problem is not None and not self._told:
            self._told = True
            message = f"{self.problem} By on_unsafe={self._on_unsafe!r} {messages.CONSEQUENCES[self._on_unsafe]}."
            self._listener(Event("late-workers", message, logging.CRITICAL, {"error": self.problem.rlk}))

    def turn_away(self) -> None:
        """Log why this process must not decide, and end it if `on_unsafe` says so."""
        self.tell()
        if self._on_unsafe == "shutdown" and not self._leaving:
            self._leaving = True
            (end_the_server if self._looks.per_request else end_this_process)()

    def leave_if_added(self) -> None:
        """In a forked child: exit before serving if a running server adds this worker to a preloaded application."""
        error = self.refusal() if self._on_unsafe == "shutdown" else None
        if isinstance(error, LateWorkersError):
            leave(error)

    def _found(self, error: StartupRefused) -> bool:
        if self.problem is None:
            self.problem = error
        if self._on_unsafe == "warn":
            self.tell()
        return not self.closed


class _Looks:
    """The state of the search for siblings; times are in seconds of the monotonic clock."""

    def __init__(self) -> None:
        self.first: float | None = None
        self.since: float | None = None
        """Since when this process has been waiting for a sibling to exit."""
        self.next = 0.0
        self.warned = False
        self.per_request = False
        """Whether the server forks a process for each request."""


class _Declared:
    """What the user and the server declare about the workers that would use a store."""

    def __init__(self, store: str, per_process: bool, workers: int | None, allowed: bool, remedy: str) -> None:  # noqa: FBT001 - used in this module only
        declared(workers)
        self.per_process = per_process
        self._store = store
        self._workers = workers
        self._allowed = allowed
        self._remedy = remedy

    def settles(self) -> bool:
        """Whether the user's declaration makes the search for siblings unnecessary."""
        return self._allowed or declared(self._workers) is not None

    def refusal(self) -> StartupRefused | None:
        """The error if several workers are declared or detected."""
        if self._allowed or not self.per_process:
            return None
        seen = detected()
        found = declared(self._workers) or seen
        if found is None or found.count <= 1:
            return None
        return self.several(found, late=found is seen and seen.late)

    def several(self, found: Workers, *, late: bool) -> StartupRefused:
        """The error for several workers; `late` if a running server adds this one."""
        return messages.added(self._store, found) if late else messages.several(self._store, found, self._remedy)

    def log_if_allowed(self) -> None:
        """Log that an option allows a per-process store, if it has an effect."""
        if self.per_process:
            messages.allowed(self._store, declared(self._workers), detected(), accepted=self._allowed)


_guards: weakref.WeakSet[ProcessGuard] = weakref.WeakSet()


def _renew_all() -> None:
    """Start over in a forked child: what was found for the parent may not hold here."""
    for guard in _guards:
        guard._renew()  # noqa: SLF001 - its own module
    if "gunicorn.arbiter" in sys.modules:
        for guard in list(_guards):
            guard.leave_if_added()


in_forked_child(_renew_all)
