"""The search for sibling processes: one for the whole process, whatever the number of its limiters.

A decision does at most one short slice of a look. In the first seconds a thread goes on, because the serving socket may
begin to listen after another one, or after the first decision; it raises an alarm only when it finds something.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator
from threading import Lock, get_ident
from typing import Final

from ratelimit_kit.background import Background
from ratelimit_kit.guard import claims, forks, listening, socket_locks
from ratelimit_kit.guard.socket_locks import Sibling
from ratelimit_kit.guard.workers.detection import detected, tested

OVERLAP_SECONDS: Final = 5.0
"""How long a process waits for a sibling to exit: two generations overlap in a graceful reload."""

RECHECK_SECONDS: Final = 1.0
"""Interval between looks in the first seconds, and while there is a sibling that does not exit."""

WAITING_SECONDS: Final = 0.1
"""Interval between looks while a decision waits for a sibling to exit."""

WATCH_SECONDS: Final = 10.0
"""How long after the first look a thread keeps looking."""

PAUSE_SECONDS: Final = 0.001
"""What a look leaves to others after each slice."""

TICK_SECONDS: Final = 0.02
"""How often a decision that waits asks again."""


class Search:
    """What is known about siblings of this process.

    `sibling` is what the last look has found, `blind` says why none can be found, `other_port` is one that serves
    elsewhere and has stayed for a while. `listens` is whether this process does.
    """

    def __init__(self, alarm: Callable[[], None]) -> None:
        self._alarm = alarm
        self._watcher = Background("guard", self._watch, RECHECK_SECONDS)
        self.renew()

    def renew(self) -> None:
        """Know nothing: a forked child has siblings of its own, and no thread."""
        self.sibling: Sibling | None = None
        self.other_port: Sibling | None = None
        self.blind = ""
        self.listens = False
        self._succeeds = False
        """Whether a predecessor holds a name that this process has to take over."""
        self._times = _Times()
        self._look = _Look()
        self._lock = Lock()

    @property
    def is_unfinished(self) -> bool:
        """Whether a look has begun that another slice must finish."""
        return self._look.steps is not None

    @property
    def looks(self) -> int:
        """How many looks have been finished."""
        return self._look.finished

    @property
    def pause(self) -> float:
        """How many seconds a decision waits before it does the next slice, or asks again."""
        return PAUSE_SECONDS if self.is_unfinished else TICK_SECONDS

    def advance(self, *, again: bool = True) -> None:
        """Do one slice of a look; begin one if none has begun, and it is time or `again` says so."""
        if self._look.is_within:
            return
        with self._lock:
            now = time.monotonic()
            if self._look.steps is None:
                if not again and now < self._times.due:
                    return
                self._times.begin(now)
                self._look.steps = self._looks()
            self._look.step()

    def blindness(self, *, policy: bool) -> str:
        """Why a process that listens, or decides about requests, cannot find siblings; empty if it can."""
        return self.blind if self.blind and (self.listens or forks.serves(policy=policy)) else ""

    def answer(self, looks: int) -> bool | None:
        """Whether this process may decide; None until so many looks are finished, or while a sibling may be about to exit.

        Whoever waits for a look is content with the next one that ends: others may begin theirs meanwhile.
        """
        if self.sibling is None:
            return True if self.looks >= looks or self._look.is_within else None
        return False if time.monotonic() >= self._times.since + OVERLAP_SECONDS else None

    def goes_on(self) -> None:
        """Go on looking in a thread for the first seconds, where there are threads."""
        if time.monotonic() < self._times.first + WATCH_SECONDS and not tested():
            self._watcher.start()

    def _watch(self) -> float | None:
        return RECHECK_SECONDS if self.round() else None

    def round(self) -> bool:
        """Do a whole look with pauses, and raise the alarm if it finds something; whether there should be another."""
        self.advance()
        while self.is_unfinished and not self._watcher.stops:
            time.sleep(PAUSE_SECONDS)
            self.advance()
        if self.sibling or self.other_port or self.blind:
            self._alarm()
        return self._succeeds or time.monotonic() < self._times.first + WATCH_SECONDS

    def _looks(self) -> Generator[None, None, None]:
        """One look, from the first descriptor to what it means."""
        found, self._succeeds, blind = None, False, ""
        try:
            addresses = set()
            for address in listening.addresses():
                if address is None:
                    yield
                else:
                    addresses.add(address)
            self.listens = bool(addresses)
            found = yield from socket_locks.on_the_same_socket(sorted(addresses))
            if found is None and addresses:
                found = self._elsewhere()
            if found is not None and found.pid == _manager() == os.getppid():
                found = None  # a reloader, or a master that has loaded the application too
            elif found is not None and _is_predecessor(found):
                found, self._succeeds = None, True
        except claims.NoProofError as error:
            found, blind = self.sibling, str(error)  # what cannot be seen has not gone
        self.blind = blind
        self._look.finished += 1
        self._times.end(found is not None)
        self.sibling = found

    def _elsewhere(self) -> Sibling | None:
        """A replica on another port; what may be another site there is remembered once it has stayed for a while."""
        if "PYTEST_XDIST_WORKER" in os.environ or tested():
            return None
        manager = _manager()
        parent = os.getppid() if manager is None else claims.parent_of(manager)
        replica = None if os.isatty(0) or forks.is_helper() else socket_locks.on_another_port(parent, replica=True)
        other = socket_locks.on_another_port(parent)
        if replica is not None:
            return replica
        if other is not None and not _is_predecessor(other) and self._times.are_late():
            self.other_port = other
        return None


class _Look:
    """The look in progress, step by step, and how many there were."""

    def __init__(self) -> None:
        self.steps: Generator[None, None, None] | None = None
        self.finished = 0
        self._thread = 0

    @property
    def is_within(self) -> bool:
        """Whether this thread is in a step already: a signal handler, or a log, may hit within one."""
        return self._thread == get_ident()

    def step(self) -> None:
        """Do the next step."""
        self._thread = get_ident()
        try:
            if self.steps is not None and next(self.steps, self) is self:
                self.steps = None
        finally:
            self._thread = 0


class _Times:
    """When this process has looked, in seconds of the monotonic clock."""

    def __init__(self) -> None:
        self.first = 0.0
        self.since = 0.0
        """Since when there has been a sibling."""
        self.due = 0.0
        self._has_sibling = False

    def begin(self, now: float) -> None:
        self.first = self.first or now

    def end(self, sibling: bool) -> None:  # noqa: FBT001 - used in this module only
        now = time.monotonic()
        if sibling and not self._has_sibling:
            self.since = now
        self._has_sibling = sibling
        waits = sibling and now < self.since + OVERLAP_SECONDS
        self.due = now + (WAITING_SECONDS if waits else RECHECK_SECONDS)

    def are_late(self) -> bool:
        """Whether two generations would not overlap any more."""
        return time.monotonic() >= self.first + OVERLAP_SECONDS


def _is_predecessor(found: Sibling) -> bool:
    """Whether a sibling is another worker of the same server, whose workers replace each other.

    So does a server that upgrades itself by starting its successor (gunicorn's USR2): its master is the new one's parent.
    """
    manager = _manager()
    if manager is None or manager != os.getppid():
        return False
    return found.parent in {manager, claims.parent_of(manager)} - {0, 1}


def _manager() -> int | None:
    seen = detected()
    return None if seen is None else seen.manager
