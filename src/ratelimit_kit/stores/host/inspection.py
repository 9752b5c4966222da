"""What people want to know of a file of counters, and how to empty it."""

from __future__ import annotations

import os
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from ratelimit_kit.stores.host.counters import Now
from ratelimit_kit.stores.host.files.file import CONTENDED, HostFile
from ratelimit_kit.stores.host.files.layout import SLOT_SIZE
from ratelimit_kit.stores.host.shard import Shard


def facts(path: Path, now: Now, file: HostFile | None) -> dict[str, Any]:
    """Path, bytes in use and at most, live keys and room for them, and the processes that have the file open."""
    if file is None:
        return {"path": str(path), "bytes": 0, "keys": 0, "processes": []}
    header = file.header
    found = os.fstat(file.descriptor)
    return {
        "path": str(path),
        "bytes": found.st_blocks * 512,
        "max_bytes": file.layout.size,
        "slot_size": SLOT_SIZE,
        "keys": sum(Shard(file, number, now).alive() for number in range(header.shards)),
        "max_keys": header.max_keys,
        "sharing": Shard(file, header.shards, now).alive(),
        "processes": users_of(file),
    }


def users_of(file: HostFile) -> list[int]:
    """The processes that have the file open, as far as this user may see them."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if any(_is(link, file) for link in (entry / "fd").iterdir()):
                found.append(int(entry.name))
    return sorted(found)


def _is(link: Path, file: HostFile) -> bool:
    with suppress(OSError):
        if str(link.readlink()).startswith("/"):
            found = link.stat()
            return (found.st_dev, found.st_ino) == file.identity
    return False


def clear(file: HostFile | None) -> Any:
    """Empty every shard, each while it is locked; CONTENDED if another process holds one."""
    if file is None:
        return None
    for shard in range(file.header.shards + 1):
        if file.attempt([shard], partial(_empty, shard=shard)) is CONTENDED:
            return CONTENDED
    return None


def _empty(file: HostFile, shard: int) -> None:
    Shard(file, shard, (0, 0)).empty()
