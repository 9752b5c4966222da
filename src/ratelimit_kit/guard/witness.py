"""A proof from outside of any server's settings: does a sibling process serve the same application?

A process that serves holds a POSIX record lock for each address on which it listens. The kernel
gives such a lock to one process, does not hand it down to a fork, and takes it back when the
process ends, however it ends. So who cannot have the lock has a sibling on the same socket. A
process that listens nowhere (a shell, a management command, a test client) takes part in nothing.
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
from typing import NamedTuple

try:
    import fcntl
except ImportError:  # Windows: no fork, and no record locks; the declared layer remains
    fcntl = None  # type: ignore[assignment]

_held: dict[Path, int] = {}
"""Lock files of this process, by path: closing any descriptor of such a file would lose its lock."""


class Sibling(NamedTuple):
    """Another process that holds the lock for an address."""

    pid: int
    where: str


def on_the_same_socket(addresses: list[str]) -> Sibling | None:
    """Take the lock of every address; the first that a sibling holds, else None."""
    for address in addresses:
        pid = _taken(["socket", address, str(Path.cwd())])
        if pid is not None:
            return Sibling(pid, address)
    return None


def on_another_port() -> Sibling | None:
    """Take the lock of this command under this parent process, whatever the port; the sibling that holds it, else None."""
    command = [re.sub(r"\d+", "#", word) for word in sys.argv]
    pid = _taken(["parent", str(os.getppid()), str(Path.cwd()), *command])
    return None if pid is None else Sibling(pid, "another port")


def listening_addresses() -> list[str]:
    """The addresses of this process's own listening stream sockets; none where they cannot be read."""
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
    with socket.socket(fileno=os.dup(descriptor)) as found:
        if found.type == socket.SOCK_STREAM and found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            name = found.getsockname()
            yield f"{name[0]}:{name[1]}" if isinstance(name, tuple) else os.fsdecode(name)


def _taken(identity: list[str]) -> int | None:
    """Take the lock of this identity; the pid of the process that has it already, else None."""
    folder = _folder()
    if folder is None:
        return None
    text = "\0".join([_namespace(), *identity])
    path = folder / hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:32]
    if path in _held:
        return None
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError:
        return None
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        holder = os.pread(descriptor, 20, 0)
        os.close(descriptor)
        return int(holder) if holder.isdigit() else 0
    except OSError:  # a file system without locks
        os.close(descriptor)
        return None
    _held[path] = descriptor
    os.truncate(descriptor, 0)
    os.pwrite(descriptor, str(os.getpid()).encode(), 0)
    return None


def _folder() -> Path | None:
    """A folder of this user's own; None where there is none that can be trusted."""
    folder = Path(tempfile.gettempdir()) / f"ratelimit_kit-{os.getuid()}"
    try:
        with contextlib.suppress(FileExistsError):
            folder.mkdir(0o700)
        found = folder.lstat()
    except OSError:
        return None
    mine = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not stat.S_IMODE(found.st_mode) & 0o077
    return folder if mine else None


def _namespace() -> str:
    """Tells networks apart: the same address in another container is another address."""
    try:
        return str(Path("/proc/self/ns/net").readlink())
    except OSError:
        return ""


def _forget() -> None:
    """In a forked child: the locks are the parent's."""
    for descriptor in _held.values():
        os.close(descriptor)
    _held.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
