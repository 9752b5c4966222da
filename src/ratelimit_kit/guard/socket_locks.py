"""Detects, without any server's settings, whether a sibling process serves the same application.

A serving process holds a POSIX record lock for each address it listens on. The kernel grants such a lock to
one process, does not pass it on to a fork, and releases it when the process ends, however it ends. So a
process that cannot get the lock has a sibling on the same socket. A process that does not listen (a shell, a
management command, a test client) takes no lock.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import socket
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from threading import Lock
from typing import Final, NamedTuple

from ratelimit_kit.core.fork import in_forked_child

try:
    import fcntl
except ImportError:  # Windows: no fork, and no record locks; declared workers are still checked
    fcntl = None  # type: ignore[assignment]

_held: dict[Path, int] = {}
"""Lock files of this process, by path: closing any descriptor of such a file would release its lock."""

_sockets: set[Path] = set()
"""Those of them that stand for an address on which this process listens."""

SOCKET: Final = "socket"

_lock = Lock()
"""One thread at a time: closing a descriptor that did not get the lock would release another thread's."""


class Sibling(NamedTuple):
    """Another process that holds the lock for an address; `parent` is the process that started it."""

    pid: int
    parent: int
    where: str


def on_the_same_socket(addresses: list[str]) -> Sibling | None:
    """Lock every address; return the first sibling that holds one and still listens on it, else None.

    Locks of addresses on which this process listens no more are released: tests may serve on a thousand ports.
    """
    if addresses:
        _release_others(addresses)
    for address in addresses:
        sibling = _taken([SOCKET, address], address)
        if sibling is not None and _listens(sibling.pid, address):
            return sibling
    return None


def on_another_port() -> Sibling | None:
    """Lock this command under this parent process, whatever the port; return the sibling that holds it, else None."""
    command = [re.sub(r"(?<!\w)\d+$", "#", str(word)) for word in sys.argv]
    return _taken(["parent", str(os.getppid()), *command], "another port")


def listening_addresses() -> list[str]:
    """The addresses of this process's own listening stream sockets; none if they cannot be read."""
    if fcntl is None:
        return []
    return sorted(set(_addresses()))


def _addresses() -> Iterator[str]:
    folder = "/proc/self/fd" if Path("/proc/self/fd").is_dir() else "/dev/fd"
    with contextlib.suppress(OSError):
        for name in os.listdir(folder):  # noqa: PTH208 - numbers, not paths
            with contextlib.suppress(OSError):
                if stat.S_ISSOCK(os.fstat(int(name)).st_mode):
                    yield from _listening(int(name))


def _listening(descriptor: int) -> Iterator[str]:
    """The address of a listening socket; reads a duplicate and restores the blocking mode that both share."""
    blocking = os.get_blocking(descriptor)
    with socket.socket(fileno=os.dup(descriptor)) as found:
        os.set_blocking(descriptor, blocking)
        if found.type == socket.SOCK_STREAM and found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            name = found.getsockname()
            yield f"{name[0]}:{name[1]}" if isinstance(name, tuple) else os.fsdecode(name)


def _listens(pid: int, address: str) -> bool:
    """Whether a process still listens on an address: an exiting one may take long to finish its last requests.

    True if that is not visible.
    """
    port = address.rpartition(":")[2]
    if not port.isdigit():
        return True
    try:
        held = {os.readlink(entry.path) for entry in os.scandir(f"/proc/{pid}/fd")}  # noqa: PTH115 - not files
        rows = [line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()]
    except OSError:
        return True
    ours = f"{int(port):04X}"
    return any(row[3] == "0A" and row[1].endswith(":" + ours) and f"socket:[{row[9]}]" in held for row in rows[1:])


def _taken(identity: list[str], where: str) -> Sibling | None:
    """Lock this identity; return the process that already holds the lock, else None."""
    folder = own_folder()
    if folder is None:
        return None
    path = _path(folder, identity)
    with _lock:
        if path in _held:
            return None
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError:
            return None
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            pid, parent = _holder(descriptor)
            os.close(descriptor)
            return Sibling(pid, parent, where)
        except OSError:  # a file system without locks
            os.close(descriptor)
            return None
        _held[path] = descriptor
        if identity[0] == SOCKET:
            _sockets.add(path)
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()} {os.getppid()}".encode(), 0)
    return None


def _path(folder: Path, identity: list[str]) -> Path:
    text = "\0".join([_namespace(), *identity])
    return folder / hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:32]


def _release_others(addresses: list[str]) -> None:
    """Release the locks of all other addresses."""
    folder = own_folder()
    if folder is None or not _sockets:
        return
    with _lock:
        for path in _sockets - {_path(folder, [SOCKET, address]) for address in addresses}:
            _sockets.discard(path)
            os.close(_held.pop(path))


def _holder(descriptor: int) -> tuple[int, int]:
    """The pid in a lock file and its parent's; 0 if they are not written yet."""
    words = os.pread(descriptor, 40, 0).split()
    return (int(words[0]), int(words[1])) if len(words) == 2 else (0, 0)


def own_folder() -> Path | None:
    """A folder that belongs to this user; None if there is none that can be trusted, or no locks to put there."""
    if fcntl is None:  # where there are no record locks, there are no user numbers either
        return None
    try:
        folder = Path(tempfile.gettempdir()) / f"ratelimit_kit-{os.getuid()}"
        with contextlib.suppress(FileExistsError):
            folder.mkdir(0o700)
        found = folder.lstat()
    except OSError:
        return None
    mine = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not stat.S_IMODE(found.st_mode) & 0o077
    return folder if mine else None


def _namespace() -> str:
    """The network namespace: the same address in another container is another address."""
    try:
        return str(Path("/proc/self/ns/net").readlink())
    except OSError:
        return ""


def _forget() -> None:
    """In a forked child: the locks belong to the parent, and another of its threads may have held `_lock`."""
    global _lock  # noqa: PLW0603 - a lock held in the parent would never be released here
    _lock = Lock()
    _held.clear()
    _sockets.clear()


in_forked_child(_forget)
