"""What `doctor` says of a store that the processes of one machine share: its file, and who uses it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from ratelimit_kit.cli.findings import Finding

CONTAINER_MARKS: Final = ("/.dockerenv", "/run/.containerenv")
"""Files that Docker and Podman put into each container."""


def on_this_host(facts: Mapping[str, Any]) -> Iterator[Finding]:
    """What a store of this machine tells of its file, and who uses it."""
    if "max_bytes" not in facts:
        yield Finding("file", "pass", f"{facts.get('path')} is made with the first hit")
        return
    found = (
        f"{facts['path']}: {facts['keys']} of {facts['max_keys']} keys of {facts['slot_size']} bytes, {_mebibytes(facts['bytes'])} of "
        f"{_mebibytes(facts['max_bytes'])} in use, open in {len(facts['processes'])} processes"
    )
    if facts["sharing"]:
        fix = "a larger max_keys (and a new file), more room on the file system, or a shared store"
        yield Finding("file", "warn", f"{found}; keys without room share {facts['sharing']} strict counters", fix)
    else:
        yield Finding("file", "pass", found)
    if any(Path(mark).exists() for mark in CONTAINER_MARKS):
        found = "this is a container: its counters are its own, unless the folder of that file is shared with others"
        yield Finding("host", "low", found, 'store = "redis://..." for several containers')


def _mebibytes(size: int) -> str:
    return f"{size / 2**20:.1f} MiB"
