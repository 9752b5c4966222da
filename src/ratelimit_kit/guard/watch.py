"""The watch over one store that counts per process: one process may use it, and no second one.

It looks twice. When a limiter is built, what the user and the server declare decides: several
workers are refused. Before the first decision of a process (again in each forked child), what the
server shows by then and the witness decide: a process that finds a sibling admits nothing more.
"""

from __future__ import annotations

import logging
import math
import os
import time
import weakref
from typing import Literal, get_args

from ratelimit_kit.core.event import Event, Listener
from ratelimit_kit.core.options import nearest
from ratelimit_kit.errors import LateWorkersError, OptionError, OtherPortWarning, StartupRefused, UnsafeWorkersError
from ratelimit_kit.guard import witness
from ratelimit_kit.guard.refusal import end_the_server, end_this_process, refuse
from ratelimit_kit.guard.servers import detected
from ratelimit_kit.guard.workers import Workers, declared

_log = logging.getLogger("ratelimit_kit")

OnUnsafe = Literal["shutdown", "deny", "warn"]

_CONSEQUENCES: dict[OnUnsafe, str] = {
    "shutdown": "this process refuses every request and ends",
    "deny": "this process refuses every request",
    "warn": "this process goes on, and each client gets more than its quota",
}

PATIENCE = 5.0
"""Seconds that a process waits for a sibling to go: in a graceful reload two generations overlap."""

AGAIN = 1.0
"""Seconds between two looks of a process that listens nowhere yet, or that waits for a sibling's end."""


class Watch:
    """Sees to it that `store` (its name in messages) is used by one process only.

    `alert` is true while `admits` has to be asked before a decision; `problem` says what was found.
    A store that is not `per_process` needs no watch; its options are checked all the same.
    """

    def __init__(
        self,
        store: str,
        listener: Listener,
        *,
        per_process: bool,
        workers: int | None,
        allow_per_process: bool,
        on_unsafe: OnUnsafe,
    ) -> None:
        if on_unsafe not in get_args(OnUnsafe):
            raise OptionError(f"on_unsafe={on_unsafe!r} is no choice; {nearest(str(on_unsafe), get_args(OnUnsafe))}")
        if not isinstance(allow_per_process, bool):
            raise OptionError(f"allow_per_process={allow_per_process!r} is neither True nor False")
        declared(workers)
        self._store = store
        self._per_process = per_process
        self._listener = listener
        self._workers = workers
        self._allowed = allow_per_process
        self._on_unsafe = on_unsafe
        self._renew()
        _watches.add(self)

    def _renew(self) -> None:
        self.alert = self._per_process
        self.problem: StartupRefused | None = None
        self._told = self._leaving = False
        self._per_request = False
        self._since: float | None = None
        self._again = 0.0

    @property
    def closed(self) -> bool:
        """Whether this process admits nothing because of a sibling."""
        return self.problem is not None and self._on_unsafe != "warn"

    @property
    def refusal_to_begin(self) -> StartupRefused | None:
        """What to answer a server that asks whether this process can begin."""
        return self.problem if self._on_unsafe == "shutdown" else None

    def start(self) -> None:
        """Raise UnsafeWorkersError when several workers are declared or shown; asks nothing of other processes.

        A worker that a running server adds follows `on_unsafe`.
        """
        error = self.refusal()
        if error is None:
            self._say_what_is_allowed()
        elif isinstance(error, LateWorkersError) and self._on_unsafe != "shutdown":
            self._found(error)
            self.tell()
        else:
            refuse(error)

    def refusal(self) -> StartupRefused | None:
        """What `start` would raise, as a value."""
        if self._allowed or not self._per_process:
            return None
        seen = detected()
        found = declared(self._workers) or seen
        if found is None or found.count <= 1:
            return None
        if found is seen and seen.late:
            return LateWorkersError(
                f"{self._store} counts per process, and a running server with {found.initial} was told to have "
                f"{found.count} workers: the added one does not serve, for each client would get more than its quota. "
                'Take it back (gunicorn: kill -TTOU), or use store="redis://..."'
            )
        return UnsafeWorkersError(_several(self._store, found))

    def admits(self) -> bool | None:
        """Whether this process may decide; None when a sibling may be about to end, so ask again a little later."""
        now = time.monotonic()
        if now < self._again:
            return not self.closed
        if self._allowed or declared(self._workers) is not None:
            return self._settled()
        seen = detected()
        if seen is not None:
            if seen.count == 1:
                return self._settled()
            self._per_request = seen.per_request
            self._again = math.inf  # the number does not change any more for this process
            return self._found(UnsafeWorkersError(_several(self._store, seen)))
        return self._ask_the_witness(now)

    def _ask_the_witness(self, now: float) -> bool | None:
        addresses = witness.listening_addresses()
        if not addresses:
            self._again = now + AGAIN
            return True
        sibling = witness.on_the_same_socket(addresses)
        if sibling is None:
            return self._settled() if self._alone_among_ports(now) else True
        self._since = now if self._since is None else self._since
        if now < self._since + PATIENCE and self.problem is None:
            return None
        self._again = now + AGAIN
        found = f"process {sibling.pid or 'unknown'} serves the same application on {sibling.where}"
        return self._found(
            LateWorkersError(
                f"{self._store} counts per process, and {found}: each client would get its quota from each. "
                'Use store="redis://...", or run one process'
            )
        )

    def _alone_among_ports(self, now: float) -> bool:
        """Whether no sibling listens on another port; after some patience one is warned of, once."""
        sibling = witness.on_another_port()
        if sibling is None:
            return True
        self._since = now if self._since is None else self._since
        self._again = now + AGAIN
        if now < self._since + PATIENCE:
            return False
        warning = OtherPortWarning(
            f"process {sibling.pid or 'unknown'} was started like this one and serves on another port. {self._store} counts "
            "per process: if one balancer stands before both, each client gets its quota from each. "
            f'Use store="redis://...", or say workers=1 if they are apart'
        )
        self._listener(Event("other-port", str(warning), logging.WARNING, {"warning": warning.rlk, "pid": sibling.pid}))
        return True

    def _settled(self) -> bool:
        if self.problem is not None:
            self._listener(Event("sole-worker", f"{self._store} is used by one process again.", logging.WARNING))
        self.problem = None
        self._told = False
        self.alert = False
        return True

    def tell(self) -> None:
        """Say what was found, once."""
        if self.problem is not None and not self._told:
            self._told = True
            message = f"{self.problem} By on_unsafe={self._on_unsafe!r} {_CONSEQUENCES[self._on_unsafe]}."
            self._listener(Event("late-workers", message, logging.CRITICAL, {"error": self.problem.rlk}))

    def turn_away(self) -> None:
        """Say why a decision is refused that this process must not make, and end it where `on_unsafe` says so."""
        self.tell()
        if self._on_unsafe == "shutdown" and not self._leaving:
            self._leaving = True
            (end_the_server if self._per_request else end_this_process)()

    def _found(self, error: StartupRefused) -> bool:
        if self.problem is None:
            self.problem = error
        if self._on_unsafe == "warn":
            self.tell()
        return not self.closed

    def _say_what_is_allowed(self) -> None:
        """Log an escape where it changes something: nobody should find out from the numbers."""
        if not self._per_process:
            return
        word, seen = declared(self._workers), detected()
        if seen is None or seen.count <= 1 or not seen.speaks:
            if word is not None:
                _say(logging.INFO, f"{word.found}, so {self._store} is allowed")
        elif self._allowed:
            _say(
                logging.WARNING,
                f"allow_per_process=True: {self._store} counts per process, and {seen.found}. "
                f"Each client gets up to {seen.times} its quota",
            )
        elif word is not None:
            _say(logging.WARNING, f"{word.found}, so {self._store} is allowed although {seen.found}")


def _say(level: int, message: str) -> None:
    """Log a sentence once in a process, however many limiters it is true of."""
    if message not in _said:
        _said.add(message)
        _log.log(level, message)


_said: set[str] = set()


def _several(store: str, workers: Workers) -> str:
    return (
        f"{store} counts per process, and {workers.found}: each client would get {workers.times} its quota. "
        'Use store="redis://...", or run one worker. If there really is only one process, say so with workers=1 '
        "or RATELIMIT_KIT_WORKERS=1."
    )


_watches: weakref.WeakSet[Watch] = weakref.WeakSet()


def _renew_all() -> None:
    """In a forked child: what held for the parent is not known of the child."""
    for watch in _watches:
        watch._renew()  # noqa: SLF001 - its own module


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_all)
