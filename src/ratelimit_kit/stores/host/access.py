"""How a store comes to its file: opened or made when it is needed, watched, and tried again while others hold its locks."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from ratelimit_kit.core.events import Event, Listener
from ratelimit_kit.errors import StoreContendedError, StoreError, StoreFullError, StoreUnavailableError
from ratelimit_kit.stores.host.files.file import CONTENDED, FULL, Contended, Damaged, HostFile
from ratelimit_kit.stores.host.files.opening import open_file
from ratelimit_kit.stores.host.files.place import (
    GROUP,
    check_folder,
    check_writable,
    make_folder,
    place_of,
)

CHECK_NANOSECONDS: Final = 250_000_000
"""Interval between looks whether the file is still the one at its path."""

YIELDS: Final = 5
"""How often a call that finds a lock held only lets others run, before it sleeps: locks are held for microseconds."""

MAX_PAUSE_SECONDS: Final = 0.0002

Clock = Callable[[], int]

Work = Callable[[HostFile | None], Any]
"""Something to be done with a file, or with None where there is none; the result may be CONTENDED."""


class Access:
    """The file of one store: at `path`, or with this `name` in the usual place.

    `opened` is the file, which is to be looked at again at `check_at` (nanoseconds of `clock`).
    """

    def __init__(self, name: str, path: Path | None, mode: int, max_keys: int, timeout: float, clock: Clock) -> None:
        self._name, self._path = name, path
        self._mode = mode
        self._max_keys = max_keys
        self.timeout = timeout
        self._clock = clock
        self.opened: HostFile | None = None
        self.check_at = 0
        self._unsaid = ""
        """Why counting begins anew, until there is a file with which it does."""
        self._damage: Damaged | None = None

    @property
    def path(self) -> Path:
        """Where the file is, for the user that runs this process."""
        return place_of(self._name, self._mode) if self._path is None else self._path

    def close(self) -> None:
        """Let go of the file; it is closed when no other store of this process uses it."""
        self.opened = None

    def file(self, tell: Listener, *, makes: bool) -> HostFile | None:
        """The file as it is now; if there is none, a new one if this call `makes` one.

        A new file in the place of one that was removed or damaged is told of. Raises what opening a file raises.
        """
        now = self._clock()
        if self.opened is not None and not self.opened.is_ours():
            self.opened = None
        if self.opened is not None and now < self.check_at:
            return self.opened
        before, self.check_at = self.opened, now + CHECK_NANOSECONDS
        reason, self._unsaid = self._unsaid, ""
        path = self.path
        damage, self._damage = self._damage, None
        if before is not None and before.path == path and damage is None:
            try:
                before.check(path)
                return before
            except Damaged as found_now:
                reason = str(found_now)
        self.opened = None
        own = self._path is None and not self._mode & GROUP
        if makes and own:
            make_folder(path)
        check_folder(path, own=own)
        self.opened, replaced = open_file(path, self._mode, self._max_keys if makes else None, damage)
        if self.opened is not None:
            self._tell(tell, reason or replaced)
        else:
            self._unsaid = reason
            check_writable(path, own=own)
        return self.opened

    def lost(self, damage: Damaged) -> None:
        """Put another file in the place of one that was found to be damaged."""
        self._damage = damage
        self.check_at = 0

    def _tell(self, tell: Listener, reason: str) -> None:
        """Say what is new about the file."""
        assert self.opened is not None
        if reason:
            message = (
                f"the counters in {self.opened.path} begin anew, because {reason}: each client has a full quota again. "
                "Nothing but this library should touch that file"
            )
            tell(Event("host-new-start", message, logging.WARNING, {"reason": reason}))
        kept = self.opened.header.max_keys
        if kept != self._max_keys:
            message = (
                f"{self.opened.path} was made for {kept} keys, which stays so although max_keys={self._max_keys}: to change it, "
                "stop all processes that use the file, and remove it"
            )
            self._max_keys = kept
            tell(Event("host-max-keys", message, logging.WARNING, {"max_keys": kept}))


class Call:
    """One call of a store, tried until no other process holds its locks; `makes` says whether it may make a file."""

    def __init__(self, access: Access, tell: Listener, work: Work, *, makes: bool = False) -> None:
        self._access, self._tell, self._work, self._makes = access, tell, work, makes
        self._attempts = 0
        self._deadline = 0.0

    def attempt(self) -> Any:
        """The result of the work; CONTENDED if another process holds a lock, or has changed the file."""
        try:
            return self._work(self._access.file(self._tell, makes=self._makes))
        except Contended:
            return CONTENDED
        except Damaged as damage:
            self._access.lost(damage)
            return CONTENDED
        except StoreError:
            self._access.close()
            raise
        except OSError as error:
            if error.errno is None:  # raised by a handler of a signal, such as that of an alarm
                raise
            self._access.close()
            raise self._outage(error) from error

    def pause(self) -> float:
        """For how many seconds to wait before the next attempt; raises StoreContendedError after the deadline."""
        now = time.monotonic()
        self._attempts += 1
        if self._attempts == 1:
            self._deadline = now + self._access.timeout
        elif now > self._deadline:
            raise StoreContendedError(
                f"another process has held a lock of {self._access.path} for {self._access.timeout:g} s: it may be stopped "
                "(SIGSTOP, a debugger), or the machine is too busy; nothing was charged"
            )
        return 0.0 if self._attempts <= YIELDS else min(MAX_PAUSE_SECONDS, 0.00005 * (self._attempts - YIELDS))

    def _outage(self, error: OSError) -> StoreError:
        path = self._access.path
        if error.errno is not None and error.errno in FULL:
            return StoreFullError(
                f"there is no room for {path} ({os.strerror(error.errno)}), and nothing was charged: make room on its file system "
                "(in Docker --shm-size=256m), or give a smaller max_keys"
            )
        advice = (
            f" for user {os.geteuid()}, who runs this process: give a path in a folder of that user, such as host:///run/shop/limits"
            if isinstance(error, PermissionError)
            else ""
        )
        return StoreUnavailableError(f"{path} cannot be used: {error.strerror or error}{advice}")
