"""A file of counters: opened, checked, locked shard by shard, and replaced when it is of no use any more.

Nothing is mapped: a file that somebody truncates, or a full disk, is then an error of a call and no signal that kills.
What is written in one piece lies within a page, so that a process killed in the middle has written all of it or nothing.

Locks are the kernel's record locks, which end with the process that holds them. They belong to a process, so a lock of
its own keeps threads apart; and closing *any* descriptor of the file would end them, so there is one for each file.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
import weakref
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Any, Final, NamedTuple

from ratelimit_kit.core.fork import each_in_forked_child, with_lock
from ratelimit_kit.errors import StoreUnavailableError
from ratelimit_kit.stores.host import boot
from ratelimit_kit.stores.host.layout import FILE_LOCK, FORMAT, PAGE, Header, Layout
from ratelimit_kit.stores.host.place import GROUP

try:
    import fcntl
except ImportError:  # Windows; `store` says so
    fcntl = None  # type: ignore[assignment]

HAS_LOCKS: Final = fcntl is not None
if fcntl is not None:
    lockf = fcntl.lockf
    LOCK: Final = fcntl.LOCK_EX | fcntl.LOCK_NB
    UNLOCK: Final = fcntl.LOCK_UN

FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
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


FLAGS: Final = os.O_RDWR | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)

ATTEMPTS: Final = 20
"""How often a process looks at a path that changes meanwhile."""

CONTENDED: Final = object()
"""The result of work that could not begin, because another process holds a lock."""


class Contended(Exception):  # noqa: N818 - a state, not a mistake
    """Another process holds a lock that is needed."""


class Damaged(Exception):  # noqa: N818 - likewise
    """The file with this identity is not what it was: `str()` says why. A new one takes its place."""

    def __init__(self, reason: str, identity: Identity = (0, 0)) -> None:
        super().__init__(reason)
        self.identity = identity


class HostFile:
    """An open file of counters: one descriptor for the whole process, which is closed when nobody uses it any more.

    `places` and `states` are what this process remembers of it, by key and counter, and by digest; the slots themselves
    say whether it is still so. `earliest` is when a slot of a shard is to be checked, as far as this process knows.
    """

    def __init__(self, path: Path, descriptor: int, found: os.stat_result, header: Header) -> None:
        self.path = path
        self.descriptor = descriptor
        self.header = header
        self.layout = Layout(header)
        self.identity = _identity(found)
        self.places: dict[tuple[str, str], Place] = {}
        self.earliest: dict[int, int] = {}
        self.states: dict[bytes, tuple[bytes, Any]] = {}
        self._page = header.page()
        self.renew()
        _of_forks.add(self)
        weakref.finalize(self, os.close, descriptor).atexit = False
        _open[self.identity] = self

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
                lockf(self.descriptor, UNLOCK)

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

    def check(self) -> None:
        """Raise Damaged if the file was removed, replaced, truncated or overwritten."""
        found = os.fstat(self.descriptor)
        try:
            there = _identity(self.path.lstat())
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

_open: weakref.WeakValueDictionary[tuple[int, int], HostFile] = weakref.WeakValueDictionary()
"""The files that this process has open, by device and inode."""


class _Turn:
    """One thread of a process opens files at a time: what one closes must not end the locks of another."""

    def __init__(self) -> None:
        self._lock = Lock()
        with_lock.add(self)

    @property
    def lock(self) -> Lock:
        return self._lock


_turn: Final = _Turn()


def open_file(path: Path, mode: int, max_keys: int | None) -> tuple[HostFile | None, str]:
    """The file at this path, and why it is a new one in the place of another, if it is that.

    Where there is none, or one that was damaged, a new one is made for `max_keys`; if that is None, there is no file.
    Raises StoreUnavailableError for what may not be used, and OSError.
    """
    reason = ""
    with _turn.lock:
        for _ in range(ATTEMPTS):
            try:
                found = _find(path, mode)
                if found is not None or max_keys is None:
                    return found, reason
                _create(path, mode, max_keys, None)
            except Damaged as damage:
                if max_keys is None:
                    return None, ""
                reason = str(damage)
                _create(path, mode, max_keys, damage.identity)
    raise StoreUnavailableError(f"{path} is replaced again and again by something else: give the counters another path")


def _find(path: Path, mode: int) -> HostFile | None:
    try:
        there = path.lstat()
    except FileNotFoundError:
        return None
    known = _open.get(_identity(there))
    if known is not None:
        known.check()
        return known
    _check_owner(path, there, mode)
    descriptor = os.open(path, FLAGS)
    try:
        return _opened(path, descriptor, mode)
    except BaseException:
        _close(descriptor)
        raise


def _opened(path: Path, descriptor: int, mode: int) -> HostFile:
    found = os.fstat(descriptor)
    _check_owner(path, found, mode)
    header = Header.read(os.pread(descriptor, PAGE, 0))
    if header is None and found.st_size:
        raise StoreUnavailableError(f"{path} is a file of another program: give the counters a path of their own")
    if header is not None and header.format != FORMAT:
        raise StoreUnavailableError(
            f"{path} has format {header.format}, and this version of ratelimit-kit writes format {FORMAT}: give the two "
            "versions a path each, or remove the file when the other version no longer runs"
        )
    if header is None or found.st_size != Layout(header).size:
        raise Damaged("it was truncated", _identity(found))
    if header.boot != boot.identity():
        raise Damaged(
            "it is from before this machine was started, or of a container with another clock", _identity(found)
        )
    return HostFile(path, descriptor, found, header)


def _identity(found: os.stat_result) -> Identity:
    return found.st_dev, found.st_ino


def _check_owner(path: Path, found: os.stat_result, mode: int) -> None:
    """Raise StoreUnavailableError unless only those can write the file whom the mode allows to."""
    if not stat.S_ISREG(found.st_mode):
        kind = "a symbolic link" if stat.S_ISLNK(found.st_mode) else "no regular file"
        raise StoreUnavailableError(f"{path} is {kind}: remove it, or give the counters another path")
    if found.st_nlink > 1:
        raise StoreUnavailableError(f"{path} has a second name (a hard link), by which others may change it: remove it")
    user = os.geteuid()
    ours = user in {found.st_uid, 0}
    group = mode & GROUP and found.st_mode & GROUP and found.st_gid in {os.getegid(), *os.getgroups()}
    if not ours and not group:
        raise StoreUnavailableError(
            f"{path} belongs to user {found.st_uid}, and this process runs as user {user}: run both as one user, or share "
            "the file by a group: host:///a/folder/of/the/group/limits?mode=0660"
        )
    more = stat.S_IMODE(found.st_mode) & ~mode & 0o777
    if more and found.st_uid == user:
        raise StoreUnavailableError(
            f"{path} has the mode {stat.S_IMODE(found.st_mode):04o}, and the store has mode={mode:#05o}: chmod {mode:04o} {path}"
        )


def _create(path: Path, mode: int, max_keys: int, damaged: Identity | None) -> None:
    """Put a new file there, in the place of the damaged one if there is one, unless somebody else has done so."""
    part = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}")
    header = Header.of(max_keys, secrets.token_bytes(16), boot.identity())
    try:
        descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        try:
            os.fchmod(descriptor, mode)
            layout = Layout(header)
            os.ftruncate(descriptor, layout.size)
            for at, size in layout.reserved:
                _reserve(descriptor, at, size)
            os.pwrite(descriptor, header.page(), 0)
        finally:
            os.close(descriptor)
        if damaged is None:
            with suppress(FileExistsError):
                os.link(part, path)
        else:
            _replace(part, path, damaged)
    finally:
        with suppress(OSError):
            part.unlink()


def _reserve(descriptor: int, at: int, size: int) -> None:
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, at, size)
    else:
        os.pwrite(descriptor, bytes(size), at)


def _replace(part: Path, path: Path, damaged: Identity) -> None:
    """Rename `part` to `path`, unless there is no longer the damaged file; its lock lets one process at a time do so."""
    try:
        descriptor = os.open(path, FLAGS)
    except FileNotFoundError:
        return
    try:
        lockf(descriptor, LOCK, 1, FILE_LOCK)
        if _identity(os.fstat(descriptor)) == damaged == _identity(path.lstat()):
            part.rename(path)
    except FileNotFoundError:
        pass
    except OSError as error:
        if error.errno in BUSY:
            raise Contended from None
        raise
    finally:
        _close(descriptor)


def _close(descriptor: int) -> None:
    """Close a descriptor, while no thread holds a lock of the same file: that would end it."""
    known = _open.get(_identity(os.fstat(descriptor)))
    with known.lock if known is not None else Lock():
        os.close(descriptor)
