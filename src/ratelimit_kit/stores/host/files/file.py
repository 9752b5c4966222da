"""A file of counters: opened, checked, locked shard by shard, and replaced when it is of no use any more.

Nothing is mapped: a file that somebody truncates, or a full disk, is then an error of a call and no signal that kills.
What is written in one piece lies within a page, so that a process killed in the middle has written all of it or nothing.

Locks are the kernel's record locks, which end with the process that holds them. They belong to a process, so a lock of
its own keeps threads apart; and closing *any* descriptor of the file would end them, so there is one for each file.
"""

from __future__ import annotations

import errno
import os
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Any, Final, NamedTuple

from ratelimit_kit.core.fork import each_in_forked_child
from ratelimit_kit.stores.host.files.layout import FILE_LOCK, PAGE, Header, Layout

try:
    import fcntl
except ImportError:  # Windows; `store` says so
    fcntl = None  # type: ignore[assignment]

HAS_LOCKS: Final = fcntl is not None
SHARDS: Final = FILE_LOCK
"""So many bytes have the locks of shards; the lock with which the file is replaced is beyond them."""

lockf: Any = getattr(fcntl, "lockf", None)
LOCK: Final = fcntl.LOCK_EX | fcntl.LOCK_NB if HAS_LOCKS else 0
UNLOCK: Final = fcntl.LOCK_UN if HAS_LOCKS else 0

FULL: Final = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC), errno.EFBIG)
BUSY: Final = (errno.EAGAIN, errno.EACCES)

Identity = tuple[int, int]
"""Device and inode."""

MAX_PLACES: Final = 50_000
"""How many keys a process remembers the slots of."""


class Place(NamedTuple):
    """Where a key's counter was last found: its digest, shard and slot, and where the slot is in the file."""

    digest: bytes
    shard: int
    slot: int
    at: int


CONTENDED: Final = object()
"""The result of work that could not begin, because another process holds a lock."""


class Contended(Exception):  # noqa: N818 - a state, not a mistake
    """Another process holds a lock that is needed."""


class Damaged(Exception):  # noqa: N818 - likewise
    """The file with this identity is not what it was: `str()` says why. A new one takes its place."""

    def __init__(self, reason: str, identity: Identity = (0, 0)) -> None:
        super().__init__(reason)
        self.identity = identity


def identity_of(found: os.stat_result) -> Identity:
    """Device and inode of a file."""
    return found.st_dev, found.st_ino


def _close(descriptor: int, identity: Identity) -> None:
    """Close the descriptor of a file that nobody uses any more, unless its number is somebody else's by now."""
    with suppress(OSError):
        if identity_of(os.fstat(descriptor)) == identity:
            os.close(descriptor)


class HostFile:
    """An open file of counters: one descriptor for the whole process, as long as the file is at its path.

    `places` and `states` are what this process remembers of it, by key and counter, and by digest; the slots themselves
    say whether it is still so. `earliest` is when a slot of a shard is to be checked, as far as this process knows.
    """

    def __init__(self, path: Path, descriptor: int, found: os.stat_result, header: Header) -> None:
        self.path = path
        self.descriptor = descriptor
        self.header = header
        self.layout = Layout(header)
        self.identity = identity_of(found)
        self.places: dict[tuple[str, str], Place] = {}
        self.earliest: dict[int, int] = {}
        self.states: dict[bytes, tuple[bytes, Any]] = {}
        self._page = header.page()
        self.renew()
        _of_forks.add(self)
        weakref.finalize(self, _close, descriptor, self.identity).atexit = False
        opened[self.identity] = self

    def renew(self) -> None:
        """In a forked child: another thread of the parent may have held the lock."""
        self.lock = Lock()

    def attempt(self, shards: Sequence[int], work: Callable[..., Any], *given: Any) -> Any:
        """What `work` returns, done while these shards are locked; CONTENDED if that is not possible right now.

        The shards must be in ascending order. Nothing waits while a lock is held.
        """
        with self.lock:
            try:
                for shard in shards:
                    self.hold(shard)
                return work(self, *given)
            except Contended:
                return CONTENDED
            finally:
                lockf(self.descriptor, UNLOCK, SHARDS)

    def hold(self, shard: int) -> None:
        """Lock one shard more, above those that are locked already; raises Contended."""
        try:
            lockf(self.descriptor, LOCK, 1, shard)
        except OSError as error:
            if error.errno in BUSY:
                raise Contended from None
            raise

    def read(self, at: int, size: int) -> bytes:
        """So many bytes; raises Damaged if there are fewer."""
        found = os.pread(self.descriptor, size, at)
        if len(found) < size:
            raise Damaged("it was truncated", self.identity)
        return found

    def write(self, at: int, content: bytes) -> None:
        """Write within one page, in one piece."""
        os.pwrite(self.descriptor, content, at)

    def remember(self, key: tuple[str, str], place: Place) -> None:
        """Remember where a key's counter is."""
        if len(self.places) >= MAX_PLACES:
            self.places.clear()
        self.places[key] = place

    def is_ours(self) -> bool:
        """Whether the descriptor is still this file's: an application may close all that it has not opened itself."""
        with suppress(OSError):
            return identity_of(os.fstat(self.descriptor)) == self.identity
        return False

    def check(self, path: Path) -> None:
        """Raise Damaged if the file at this path was removed, replaced, truncated or overwritten."""
        found = os.fstat(self.descriptor)
        try:
            there = identity_of(path.lstat())
        except FileNotFoundError:
            there = None
        reason = ""
        if there != self.identity:
            reason = "it was replaced" if there else "it was removed"
        elif found.st_size != self.layout.size:
            reason = "it was truncated"
        elif self.read(0, PAGE) != self._page:
            reason = "it was overwritten"
        if reason:
            raise Damaged(reason, self.identity)


_of_forks = each_in_forked_child(HostFile.renew)

opened: dict[Identity, HostFile] = {}
"""The files that this process has open. One is closed only when it is at its path no more: that would end the locks of all threads."""
