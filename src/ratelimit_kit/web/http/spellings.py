"""The spellings of a path: routers accept more of them than the one that a rule names.

`//login`, `/login/` and `/login` followed by a line break may all lead to the same view.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote

LONGEST: Final = 16_384
"""Maximum length of a path whose escapes are decoded again, in characters; servers accept half of that per line."""

_ODD: Final = re.compile(r"\A(?!/)|//|/\.|[%\r\n\ufffd]|(?<=.)/\Z")
"""What never occurs in a canonical path."""

_ABSOLUTE: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:(//[^/]*)?")
"""What precedes the path in a request target in absolute form (RFC 9112, 3.2.2)."""


def canonical(path: str) -> str:
    """The path without what routers ignore: repeated slashes, dot segments, escapes, a trailing line break or slash."""
    if _ODD.search(path) is None:
        return path
    kept: list[str] = []
    if not path.startswith("/"):
        path = _ABSOLUTE.sub("", path, count=1)
    if len(path) <= LONGEST:
        path = unquote(path)
    path = path.replace("\ufffd", "")  # bytes that are not valid UTF-8; some routers drop them
    for segment in path.rstrip("\r\n").split("/"):
        if segment == "..":
            del kept[-1:]
        elif segment not in {"", "."}:
            kept.append(segment)
    if kept:
        kept[-1] = kept[-1].rstrip("\r\n")
    return "/" + "/".join(kept)


def spellings(path: str, mount: str) -> tuple[str, ...]:
    """The path as received and in canonical form, each both complete and as the mounted application may see it."""
    mount = mount.rstrip("/")
    if not mount and _ODD.search(path) is None:
        return (path,)
    both = [path]
    if mount:
        both.append(path[len(mount) :] if f"{path}/".startswith(f"{mount}/") else mount + path)
    return tuple(dict.fromkeys([*both, *map(canonical, both)]))
