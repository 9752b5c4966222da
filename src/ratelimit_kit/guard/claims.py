"""Names that one process at a time can hold: the proof by which sibling processes find each other.

On Linux a name is an abstract Unix socket: the kernel gives it to one process of a network namespace, and takes it back
when that process ends, however it ends (unix(7)). There is no file that a cleaner could remove or somebody else could
make first. Elsewhere a name is a record lock on a file in a folder of this user.
"""

from __future__ import annotations

import atexit
import contextlib
import errno
import hashlib
import os
import socket
import stat
import struct
import sys
import tempfile
from pathlib import Path
from threading import Lock
from typing import Final, NamedTuple, Protocol

from ratelimit_kit.core.fork import in_forked_child

try:
    import fcntl
except ImportError:  # Windows: no fork, and no record locks; declared workers are still checked
    fcntl = None  # type: ignore[assignment]

PREFIX: Final = "ratelimit_kit:"
"""How the name of every abstract socket begins."""

TRIES: Final = 3
"""How often a name is asked for that another process has let go at the same moment."""

TRIES_OF_A_SOCKET: Final = 2000
"""Likewise, for a socket: between its bind and its listen nobody can ask whose it is, and a busy machine may stop it there."""


class Holder(NamedTuple):
    """The process that holds a name, and the process that started it; 0 where that is not visible."""

    pid: int
    parent: int


class NoProofError(Exception):
    """This system, or somebody else on it, does not let this process hold the name; says why."""


class _Held(Protocol):
    def is_intact(self) -> bool: ...

    def close(self) -> None: ...


_held: dict[str, _Held] = {}
"""What keeps the names of this process."""

_asked: dict[str, tuple[socket.socket, Holder]] = {}
"""Connections to holders of names: each stands in the holder's queue, so there is one for each, as long as both live."""

_lock = Lock()
"""One thread at a time: closing a descriptor of a file that another thread has locked would release its lock."""


def are_possible() -> bool:
    """Whether this system has them: not Windows, where processes share no sockets."""
    return fcntl is not None


def claim(*identity: str) -> Holder | None:
    """Hold a name until this process ends or releases it; return the other process that holds it, else None.

    Raises NoProofError if that cannot be known.
    """
    with _lock:
        name = _name(identity)
        held = _held.get(name)
        if held is not None and held.is_intact():
            return None
        try:
            taken = _take(name)
        except OSError as error:  # no descriptor or no space is left
            raise NoProofError(error.strerror or str(error)) from error
        if isinstance(taken, Holder):
            return taken
        _held[name] = taken
        return None


def release(*identity: str) -> None:
    """Let go of a name, if this process holds it."""
    with _lock:
        held = _held.pop(_name(identity), None)
        if held is not None:
            held.close()


def is_own(address: str) -> bool:
    """Whether an address on which this process listens is one of these sockets."""
    return address.startswith("\0" + PREFIX)


def parent_of(pid: int) -> int:
    """The process that started another one; 0 if that is not visible."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return 0


def _name(identity: tuple[str, ...]) -> str:
    user = str(os.geteuid()) if hasattr(os, "geteuid") else ""
    return hashlib.sha256("\0".join([user, *identity]).encode("utf-8", "surrogateescape")).hexdigest()[:32]


def _by_socket(name: str) -> _Held | Holder:
    address = f"\0{PREFIX}{name}"
    for _ in range(TRIES_OF_A_SOCKET):
        one = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            one.bind(address)
            one.listen(socket.SOMAXCONN)  # nobody accepts: others connect to learn whose it is
        except OSError as error:
            one.close()
            if error.errno != errno.EADDRINUSE:
                return _by_file(name)
        else:
            _hang_up(name)
            return _BoundSocket(one)
        holder = _holder_of_socket(name, address)
        if holder is not None:
            return holder
        os.sched_yield()  # nothing else waits while `_lock` is held
    raise NoProofError("another process is taking and leaving the name at the same time")


class _Own:
    """A descriptor of this library, and the file behind it: an application that closes all may get its number again."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._file = os.fstat(descriptor)

    def is_intact(self) -> bool:
        """Whether the descriptor is still this library's."""
        with contextlib.suppress(OSError):
            return os.path.samestat(os.fstat(self._descriptor), self._file)
        return False


class _BoundSocket(_Own):
    """A socket that has the name. Who asks whose it is stands in its queue, which is emptied when it is looked at."""

    def __init__(self, bound: socket.socket) -> None:
        super().__init__(bound.fileno())
        bound.setblocking(False)
        self._bound = bound

    def is_intact(self) -> bool:
        """Whether it has the name still."""
        if not super().is_intact():
            return False
        with contextlib.suppress(OSError):
            while True:
                self._bound.accept()[0].close()
        return True

    def close(self) -> None:
        """Let go of the name."""
        if super().is_intact():
            self._bound.close()
        else:
            self._bound.detach()


def _holder_of_socket(name: str, address: str) -> Holder | None:
    """Who holds a name, by the credentials of the socket (SO_PEERCRED of unix(7)); None if it has let go."""
    if name in _asked:
        one, holder = _asked[name]
        with contextlib.suppress(OSError):
            try:
                one.recv(1)
            except BlockingIOError:  # nothing is ever sent: it would wait for as long as the holder lives
                return holder
        _hang_up(name)
    one = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    one.setblocking(False)
    try:
        one.connect(address)
        pid, uid, _ = struct.unpack("3i", one.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    except ConnectionRefusedError:
        one.close()
        return None
    except OSError as error:
        one.close()
        raise NoProofError(f"the process that holds the name does not say whose it is ({error.strerror})") from error
    if uid != os.geteuid():
        one.close()
        raise NoProofError(f"user {uid} holds the name")
    _asked[name] = one, Holder(pid, parent_of(pid))
    return _asked[name][1]


def _hang_up(name: str) -> None:
    if name in _asked:
        _asked.pop(name)[0].close()


class _LockedFile(_Own):
    """A file with a record lock, which the kernel releases when the process ends; removed by a process that ends well."""

    def __init__(self, path: Path, descriptor: int) -> None:
        super().__init__(descriptor)
        self._path = path
        self._owner = os.getpid()

    def close(self) -> None:
        """Let go, and leave nothing behind."""
        if os.getpid() == self._owner:
            with contextlib.suppress(OSError):
                self._path.unlink()
        if self.is_intact():
            os.close(self._descriptor)


def _by_file(name: str) -> _Held | Holder:
    path = own_folder() / name
    for _ in range(TRIES):
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise NoProofError(f"{path} cannot be opened ({error.strerror})") from error
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            words = os.pread(descriptor, 40, 0).split()
            os.close(descriptor)
            return Holder(int(words[0]), int(words[1])) if len(words) == 2 else Holder(0, 0)
        except OSError as error:  # a file system without locks
            os.close(descriptor)
            raise NoProofError(f"{path} cannot be locked ({error.strerror})") from error
        if _is_still(path, descriptor):
            os.truncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()} {os.getppid()}".encode(), 0)
            return _LockedFile(path, descriptor)
        os.close(descriptor)  # its last holder has removed it meanwhile
    raise NoProofError(f"{path} is removed again and again")


def _is_still(path: Path, descriptor: int) -> bool:
    with contextlib.suppress(OSError):
        return os.path.samestat(path.lstat(), os.fstat(descriptor))
    return False


def own_folder() -> Path:
    """A folder that belongs to this user; raises NoProofError if there is none that can be trusted."""
    if fcntl is None:  # where there are no record locks, there are no user numbers either
        raise NoProofError("this system has no record locks")
    try:
        folder = Path(tempfile.gettempdir()) / f"ratelimit_kit-{os.getuid()}"
        with contextlib.suppress(FileExistsError):
            folder.mkdir(0o700)
        found = folder.lstat()
    except OSError as error:
        raise NoProofError(f"there is no folder for temporary files ({error.strerror or error})") from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o077:
        raise NoProofError(f"{folder} is not a folder of this user alone")
    return folder


_take: Final = _by_socket if sys.platform == "linux" else _by_file


def _release_all() -> None:
    """Close what keeps the names; in a forked child, the parent keeps them."""
    for held in _held.values():
        held.close()
    _held.clear()
    for name in list(_asked):
        _hang_up(name)


def _forget() -> None:
    """In a forked child: the names belong to the parent, and another of its threads may have held `_lock`."""
    global _lock  # noqa: PLW0603 - a lock held in the parent would never be released here
    _lock = Lock()
    _release_all()


in_forked_child(_forget)
atexit.register(_release_all)
