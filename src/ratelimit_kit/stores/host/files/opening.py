"""Opens the file of counters at a path, makes it where there is none, and puts a new one in the place of one that is damaged."""

from __future__ import annotations

import errno
import glob
import os
import secrets
import stat
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Final

from ratelimit_kit.core.fork import with_lock
from ratelimit_kit.errors import StoreUnavailableError
from ratelimit_kit.stores.host.files import boot
from ratelimit_kit.stores.host.files.file import (
    BUSY,
    LOCK,
    Contended,
    Damaged,
    HostFile,
    Identity,
    identity_of,
    lockf,
    opened,
)
from ratelimit_kit.stores.host.files.layout import FILE_LOCK, FORMAT, PAGE, Header, Layout
from ratelimit_kit.stores.host.files.place import GROUP, check_maker

try:
    import resource
except ImportError:  # Windows, where the store has been refused
    resource = None  # type: ignore[assignment]

FLAGS: Final = os.O_RDWR | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)

LEFT_SECONDS: Final = 60
"""After how long a file that was not finished was left by a process that was killed."""

ATTEMPTS: Final = 20
"""How often a process looks at a path that changes meanwhile."""


class _Turn:
    """One thread of a process opens files at a time: what one closes must not end the locks of another."""

    def __init__(self) -> None:
        self._lock = Lock()
        with_lock.add(self)

    @property
    def lock(self) -> Lock:
        return self._lock


_turn: Final = _Turn()


def open_file(
    path: Path, mode: int, max_keys: int | None, damage: Damaged | None = None
) -> tuple[HostFile | None, str]:
    """The file at this path, and why it is a new one in the place of another, if it is that.

    Where there is none, or one that was damaged (of which its user may have found the `damage`), a new one is made for
    `max_keys`; if that is None, there is no file. Raises StoreUnavailableError for what may not be used, and OSError.
    """
    reason = "" if damage is None else str(damage)
    with _turn.lock:
        _forget_removed()
        if damage is not None and max_keys is not None:
            _create(path, mode, max_keys, damage.identity)
        for _ in range(ATTEMPTS):
            try:
                found = _find(path, mode)
                if found is not None or max_keys is None:
                    return found, reason
                _create(path, mode, max_keys, None)
            except Damaged as found_now:
                if max_keys is None:
                    return None, ""
                reason = str(found_now)
                _create(path, mode, max_keys, found_now.identity)
    raise StoreUnavailableError(f"{path} is replaced again and again by something else: give the counters another path")


def _forget_removed() -> None:
    """Let go of files that are at their paths no more: nobody opens them again, so closing them ends no lock that matters."""
    for identity, file in list(opened.items()):
        with suppress(OSError):
            if identity_of(file.path.lstat()) == identity:
                continue
        if not file.is_ours() or not os.fstat(file.descriptor).st_nlink:
            del opened[identity]


def _find(path: Path, mode: int) -> HostFile | None:
    try:
        there = path.lstat()
    except FileNotFoundError:
        return None
    known = opened.get(identity_of(there))
    if known is not None:
        if known.is_ours():
            known.check(path)
            return known
        del opened[known.identity]  # the application has closed it
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
        raise Damaged("it was truncated", identity_of(found))
    if header.boot != boot.identity():
        raise Damaged(
            "it is from before this machine was started, or of a container with another clock", identity_of(found)
        )
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    if limit != resource.RLIM_INFINITY and limit < found.st_size:  # a slot might be written in part
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
    return HostFile(path, descriptor, found, header)


def _check_owner(path: Path, found: os.stat_result, mode: int) -> None:
    """Raise StoreUnavailableError unless only those can write the file whom the mode allows to."""
    if not stat.S_ISREG(found.st_mode):
        kind = "a symbolic link" if stat.S_ISLNK(found.st_mode) else "no regular file"
        raise StoreUnavailableError(f"{path} is {kind}: remove it, or give the counters another path")
    if found.st_nlink > 1 and not _is_ours_twice(path, found):
        raise StoreUnavailableError(f"{path} has a second name (a hard link), by which others may change it: remove it")
    user = os.geteuid()
    ours = user in {found.st_uid, 0}
    group = mode & GROUP and found.st_mode & GROUP and found.st_gid in {os.getegid(), *os.getgroups()}
    if not ours and not group:
        raise StoreUnavailableError(
            f"{path} belongs to user {found.st_uid}, and this process runs as user {user}: run both as one user, or share "
            "the file by a group: host:///a/folder/of/the/group/limits?mode=0660"
        )
    if found.st_mode & stat.S_IWOTH and not ours:
        raise StoreUnavailableError(f"{path} may be written by everybody: chmod {mode:04o} {path}")
    more = stat.S_IMODE(found.st_mode) & ~mode & 0o777
    if more and found.st_uid == user:
        raise StoreUnavailableError(
            f"{path} has the mode {stat.S_IMODE(found.st_mode):04o}, and the store has mode={mode:#05o}: chmod {mode:04o} {path}"
        )


def _parts(path: Path) -> Iterator[Path]:
    """Files that processes are making, or that one which was killed has left."""
    return path.parent.glob(f".{glob.escape(path.name)}.*-*")


def _is_ours_twice(path: Path, found: os.stat_result) -> bool:
    """Whether the second name of a file is that under which it was made; it is removed, in case its maker was killed."""
    for part in _parts(path):
        with suppress(OSError):
            if identity_of(part.lstat()) == identity_of(found):
                part.unlink()
    with suppress(FileNotFoundError):
        return path.lstat().st_nlink <= 1
    return True


def _create(path: Path, mode: int, max_keys: int, damaged: Identity | None) -> None:
    """Put a new file there, in the place of the damaged one if there is one, unless somebody else has done so."""
    check_maker(path)
    part = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}")
    for other in _parts(path):
        with suppress(OSError):
            if other.lstat().st_mtime < time.time() - LEFT_SECONDS:
                other.unlink()
    header = Header.of(max_keys, secrets.token_bytes(16), boot.identity())
    try:
        descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        try:
            os.fchmod(descriptor, mode)
            if mode & GROUP:
                with suppress(PermissionError):  # as in a folder with the group's bit (chmod g+s)
                    os.fchown(descriptor, -1, path.parent.stat().st_gid)
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
        if identity_of(os.fstat(descriptor)) == damaged == identity_of(path.lstat()):
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
    known = opened.get(identity_of(os.fstat(descriptor)))
    with known.lock if known is not None else Lock():
        os.close(descriptor)
