"""The spellings of a path: a router takes more of them for one path than the one that a rule names.

`//login`, `/login/` and `/login` with a line end after it may all lead to one view.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote

LONGEST: Final = 16_384
"""Characters of a path whose escapes are decoded once more; servers take half of that for a request line."""

_ODD: Final = re.compile(r"\A(?!/)|//|/\.|[%\r\n\ufffd]|(?<=.)/\Z")
"""What a canonical path has none of."""

_ABSOLUTE: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:(//[^/]*)?")
"""What stands before the path in a request target of absolute form (RFC 9112, 3.2.2)."""


def canonical(path: str) -> str:
    """The path without what routers overlook: repeated slashes, dot segments, escapes, a line end, a slash at the end."""
    if _ODD.search(path) is None:
        return path
    kept: list[str] = []
    if not path.startswith("/"):
        path = _ABSOLUTE.sub("", path, count=1)
    if len(path) <= LONGEST:
        path = unquote(path)
    path = path.replace("\ufffd", "")  # bytes that are no UTF-8, which some routers leave out
    for segment in path.rstrip("\r\n").split("/"):
        if segment == "..":
            del kept[-1:]
        elif segment not in {"", "."}:
            kept.append(segment)
    if kept:
        kept[-1] = kept[-1].rstrip("\r\n")
    return "/" + "/".join(kept)


def spellings(path: str, mount: str) -> tuple[str, ...]:
    """The path as it came and in canonical form, complete and as the application mounted there may see it."""
    mount = mount.rstrip("/")
    if not mount and _ODD.search(path) is None:
        return (path,)
    both = [path]
    if mount:
        both.append(path[len(mount) :] if f"{path}/".startswith(f"{mount}/") else mount + path)
    return tuple(dict.fromkeys([*both, *map(canonical, both)]))
