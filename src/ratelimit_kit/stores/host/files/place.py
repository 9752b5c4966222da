"""Where the file of a host store is: in shared memory where the system has it, else in a folder for temporary files.

A folder of the user's own keeps others out. A file that a group shares is beside it, because its path must be the same
for all of them.
"""

from __future__ import annotations

import os
import re
import stat
import subprocess
import tempfile
from pathlib import Path
from typing import Final

from ratelimit_kit.errors import OptionError, StoreUnavailableError
from ratelimit_kit.stores.host.files.layout import FORMAT

SHARED_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - the folder below it is checked
NAME: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,63}", re.ASCII)
GROUP: Final = stat.S_IRGRP | stat.S_IWGRP

NETWORK: Final = re.compile(
    r"nfs\d?|cifs|smb\w*|afs|9p|ceph|lustre|gpfs|ocfs2|gfs2|beegfs\w*|virtiofs|vboxsf|vmhgfs|davfs2?|glusterfs|afpfs|webdav"
    r"|fuse\.(sshfs|s3fs|gcsfuse|rclone|glusterfs|ceph\w*|davfs2?|juicefs|mount\.cifs|grpcfuse|osxfs|vmhgfs\S*)"
)
"""Types of file systems that other machines may share, or that do not share locks."""


def place_of(name: str, mode: int) -> Path:
    """The path of the file with this name, for this user, or for a group if the mode lets one write."""
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise OptionError(
            f"name={name!r} is no name for a host store: give up to 64 letters, digits, '-', '_' and '.'. For example: 'shop'"
        )
    if not SHARED_MEMORY.is_dir() or not os.access(SHARED_MEMORY, os.W_OK):
        folder = Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir())
    else:
        folder = SHARED_MEMORY
    if mode & GROUP:
        return folder / f"ratelimit_kit-shared-{name}.{FORMAT}"
    return folder / f"ratelimit_kit-{os.geteuid()}" / f"{name}.{FORMAT}"


def make_folder(path: Path) -> None:
    """Make the folder of a file that has a folder of this store's own."""
    try:
        path.parent.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise StoreUnavailableError(f"the folder {path.parent} could not be made: {error.strerror}") from error


def check_maker(path: Path) -> None:
    """Raise StoreUnavailableError if root would make a file in the folder of others, whose processes could not use it."""
    if os.geteuid() == 0 and path.parent.is_dir():
        found = path.parent.stat()
        if found.st_uid != 0 or (found.st_mode & stat.S_IWGRP and found.st_gid != 0):
            raise StoreUnavailableError(
                f"root makes no file in the folder {path.parent} of user {found.st_uid} and group {found.st_gid}, whose processes "
                "could then not use it: run this as their user, or after the first hit of the application"
            )


def check_writable(path: Path, *, own: bool) -> None:
    """Raise StoreUnavailableError if no file could be made there."""
    folder = path.parent if path.parent.is_dir() or not own else path.parent.parent
    if not os.access(folder, os.W_OK | os.X_OK):
        raise StoreUnavailableError(
            f"user {os.geteuid()}, who runs this process, may make no file in {folder}: give another path"
        )


def check_folder(path: Path, *, own: bool) -> None:
    """Raise StoreUnavailableError if the file's folder is of no use; one of this store's `own` may be missing still."""
    folder = path.parent
    if own and not os.path.lexists(folder):
        folder = folder.parent
    elif own:
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
            raise StoreUnavailableError(
                f"{folder} is not a folder that only this user may use, so counters in it could be changed by others: remove "
                f"it (rm -r {folder}), or give a path of your own: host:///run/shop/limits"
            )
    if not folder.is_dir():
        raise StoreUnavailableError(
            f"there is no folder {folder} for the counters: make it, for this user, and with rights for nobody else"
        )
    kind = file_system(folder)
    if NETWORK.fullmatch(kind):
        raise StoreUnavailableError(
            f"{folder} is on a file system of type {kind}, which other machines may share, or whose locks others do not see: "
            'give a path on this machine, such as host:///dev/shm/..., or use store="redis://..." for several machines'
        )


def file_system(folder: Path) -> str:
    """The type of the file system that holds a folder; empty if the system does not tell."""
    where, found, longest = os.path.realpath(folder), "", 0
    for point, kind in _mounts():
        if len(point) >= longest and (where + "/").startswith(point.rstrip("/") + "/"):
            found, longest = kind, len(point)
    return found


def _mounts() -> list[tuple[str, str]]:
    """The mount points and their types."""
    try:
        lines = Path("/proc/self/mounts").read_text(errors="replace").splitlines()
    except OSError:
        return _mounts_of_macos()
    fields = [line.split(" ") for line in lines]
    return [(_unescaped(one[1]), one[2]) for one in fields if len(one) > 2]


def _mounts_of_macos() -> list[tuple[str, str]]:
    try:
        text = subprocess.run(["/sbin/mount"], capture_output=True, text=True, timeout=2, check=False).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    return re.findall(r"^.* on (.+) \((\w+)[,)]", text, re.MULTILINE)


def _unescaped(point: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), point)
