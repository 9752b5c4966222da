"""The guard of a store that counts per process: only one process may use it.

It checks twice. When a limiter is built, several workers that the user declares or the server shows are
refused. Before the first decision of a process (and again in each forked child), it checks the server once
more, and searches for siblings: a process that finds one admits nothing more. After a decision that it has allowed no hit
asks it again, unless the search raises an alarm.
"""

from __future__ import annotations

import logging
import math
import sys
import time
import weakref
from collections.abc import Callable

from ratelimit_kit.core.events import Event, Listener
from ratelimit_kit.core.fork import in_forked_child
from ratelimit_kit.errors import (
    HelperProcessWarning,
    LateWorkersError,
    StartupRefused,
    StartupWarning,
)
from ratelimit_kit.guard import forks, messages
from ratelimit_kit.guard.abort import end_the_server, end_this_process, end_this_server, fail_to_boot, leave, refuse
from ratelimit_kit.guard.declarations import Declarations, Processes
from ratelimit_kit.guard.platforms import Finding
from ratelimit_kit.guard.siblings import RECHECK_SECONDS, Search
from ratelimit_kit.guard.workers.detection import detected, tested


class ProcessGuard:
    """Ensures that only one process uses `store` (its name in messages).

    `alert` is true while `admits` must be called before a decision; `problem` is what was found. `serves` is true if every
    decision is about a request. `when_serving` is called before decisions on a store that needs no guard, until it is true.
    """

    def __init__(
        self,
        store: str,
        listener: Listener,
        said: Processes,
        *,
        per_process: bool,
        per_host: bool = False,
        serves: bool,
        when_serving: Callable[[], bool] | None = None,
        remedy: str = "",
    ) -> None:
        self.declared = Declarations(store, said, per_process=per_process, per_host=per_host, remedy=remedy)
        self._store = store
        self._serves = serves
        self._listener = listener
        self._on_unsafe = said.on_unsafe
        self.when_serving = None if per_process else when_serving
        self._renew()
        _guards.add(self)

    def _renew(self) -> None:
        self.alert = self.declared.per_process or self.declared.per_host or self.when_serving is not None
        self.problem: StartupRefused | HelperProcessWarning | None = None
        self._last = _LastLook()

    @property
    def closed(self) -> bool:
        """Whether this process admits nothing because of a sibling."""
        return self.problem is not None and self._on_unsafe != "warn"

    def start(self) -> None:
        """Raise UnsafeWorkersError if several workers are declared or detected; other processes are not searched for.

        A worker added to a running server follows `on_unsafe`.
        """
        error = self.refusal()
        if error is None:
            self.declared.log_if_allowed()
            self._tell_once(self.declared.recycled())
        elif isinstance(error, LateWorkersError) and self._on_unsafe != "shutdown":
            self._found(error)
            self.tell()
        else:
            refuse(error)

    def refusal(self, asked: Finding | None = None) -> StartupRefused | None:
        """The error that `start` would raise, or None; that of a platform which was `asked` for, if one was."""
        return self.declared.refusal(asked)

    def admits(self) -> bool | None:
        """Whether this process may decide; None if a sibling may be about to exit: then ask again a little later."""
        if not (self.declared.per_process or self.declared.per_host):
            self.alert = self.when_serving is not None and not self.when_serving()
            return True
        if self.problem is not None and time.monotonic() < self._last.valid_until:
            return not self.closed
        if self._last.looks and self.problem is None:  # it waits for a look, or for a sibling
            return self._has_no_sibling()
        if (error := self.declared.misplaced()) is not None:  # a program has started its server after making its limits
            self._last.valid_until = math.inf
            return self._found(error)
        if self.declared.settles() or not self.declared.per_process:
            return self._settled()
        seen = detected()
        if seen is not None and seen.count > 1 and not seen.has_the_place():
            self._last.end = None if seen.beside else end_the_server if seen.per_request else end_this_process
            self._last.valid_until = math.inf  # the number no longer changes for this process
            return self._found(self.declared.several(seen, late=seen.late))
        if forks.is_helper() and not forks.serves(policy=self._serves):
            return self._helps()
        return self._has_no_sibling()

    def recheck(self) -> None:
        """Check for a sibling during a health check, with the same consequences as before a decision."""
        if self.declared.per_process and (self.alert or self.problem is not None) and self.admits() is False:
            self.turn_away()

    def begin(self) -> StartupRefused | None:
        """The reason not to start, for a server that asks; None if this process may start.

        The first request checks again: most servers begin to listen only when their application has started.
        """
        self.rearm()
        if self._on_unsafe == "shutdown" and isinstance(self.problem, StartupRefused):
            return self.problem
        self.tell()
        return None

    def rearm(self) -> None:
        """Check again before the next decision."""
        self.alert = self.declared.per_process or self.declared.per_host

    def _has_no_sibling(self) -> bool | None:
        """Look for a sibling: several servers with one worker each may share a socket, so their numbers are not enough."""
        looks = self._last.looks = self._last.looks or search.looks + 1
        search.advance(again=self.problem is None and search.sibling is None and search.looks < looks)
        if search.other_port is not None:
            self._tell_once(messages.other_port(self._store, search.other_port))
        if blind := search.blindness(policy=self._serves):
            self._tell_once(messages.blind(self._store, blind))
        answer = search.answer(looks)
        if answer is None and self.problem is None:
            return None
        if answer:
            search.goes_on()
            return self._settled()
        self._last.valid_until = time.monotonic() + RECHECK_SECONDS
        if search.sibling is None:  # the look that was begun is not finished yet
            return not self.closed
        return self._found(messages.sibling(self._store, search.sibling))

    def _helps(self) -> bool:
        """Say that the counters of a process which the application has started are its own; its parent is not touched."""
        warning = messages.helper(self._store, refuses=self._on_unsafe == "deny")
        if not tested():
            self._tell_once(warning)
        if self._on_unsafe != "deny":
            return self._settled()
        self._last.valid_until, self._last.told = math.inf, True
        return self._found(warning)

    def _settled(self) -> bool:
        if self.problem is not None:
            self._listener(Event("sole-worker", f"{self._store} is used by one process again.", logging.WARNING))
        self.problem = None
        self._last.told = False
        self._last.looks = 0
        self.alert = False
        return True

    def _tell_once(self, warning: StartupWarning | None) -> None:
        """Report a warning, once per process, however many limiters it applies to."""
        if warning is not None and warning.rlk not in _told:
            _told.add(warning.rlk)
            self._listener(Event("startup-warning", str(warning), logging.WARNING, {"warning": warning.rlk}))

    def tell(self) -> None:
        """Report what was found, once."""
        if self.problem is not None and not self._last.told:
            self._last.told = True
            message = f"{self.problem} By on_unsafe={self._on_unsafe!r} {messages.CONSEQUENCES[self._on_unsafe]}."
            self._listener(Event("late-workers", message, logging.CRITICAL, {"error": self.problem.rlk}))

    def turn_away(self) -> None:
        """Log why this process must not decide, and end it if `on_unsafe` says so."""
        self.tell()
        if self._on_unsafe == "shutdown" and self._last.end is not None:
            end, self._last.end = self._last.end, None
            end()

    def leave_if_refused(self) -> None:
        """In a worker that gunicorn has just forked, with an application made before: exit before it serves."""
        error = self.refusal()
        if isinstance(error, LateWorkersError):
            if self._on_unsafe == "shutdown":
                leave(error)
        elif error is not None:
            fail_to_boot(error)

    def _found(self, error: StartupRefused | HelperProcessWarning) -> bool:
        if self.problem is None:
            self.problem = error
        if self._on_unsafe == "warn":
            self.tell()
            self.alert = False  # health checks look again
        return not self.closed


class _LastLook:
    """What the last look has led to; `valid_until` is in seconds of the monotonic clock."""

    def __init__(self) -> None:
        self.valid_until = 0.0
        self.told = False
        self.looks = 0
        """How many looks must be finished before this guard can answer; 0 if it was not asked yet."""
        self.end: Callable[[], None] | None = end_this_server
        """How this process is ended, unless it is being ended."""


_guards: weakref.WeakSet[ProcessGuard] = weakref.WeakSet()

_told: set[str] = set()
"""The codes of the warnings that this process has reported."""


def _alarm() -> None:
    """Have each guard asked again before the next decision."""
    for guard in list(_guards):
        guard.rearm()


search = Search(_alarm)


def _renew_all() -> None:
    """Start over in a forked child: what was found for the parent may not hold here."""
    search.renew()
    _told.clear()
    for guard in list(_guards):
        guard._renew()  # noqa: SLF001 - its own module
    if "gunicorn.arbiter" in sys.modules:
        for guard in list(_guards):
            guard.leave_if_refused()


in_forked_child(_renew_all)
