"""Cookies as frameworks read them: every value that one of them may take for the cookie of a name.

A client chooses how it writes a cookie: quoted, with octal escapes, percent-encoded, twice, in several lines, or
with a blank where a semicolon belongs. What identifies it must not depend on that.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote

LONGEST: Final = 16_384
"""Characters of a Cookie field that are read; servers take half of that for a line."""

_ESCAPED: Final = re.compile(r"\\(?:([0-3][0-7][0-7])|(.))", re.DOTALL)
_LEGAL: Final = r"\w!#%&'~`><@:/$*+\-.^|)(?}{="
"""Characters that the standard library's and WebOb's parsers take for part of a cookie; anything else ends it."""

_BRACKET: Final = re.compile(r"[\[\]]")
"""What ends a cookie for WebOb, and for the standard library does not."""

_VALUE: Final = rf'(?=\s*=\s*("(?:[^"\\]|\\.)*"|[{_LEGAL},\[\]]*))'


def read_cookies(text: str) -> dict[str, str]:
    """The cookies of a field by name; of several with one name the first."""
    found: dict[str, str] = {}
    for name, value in _pairs(_decoded(text[:LONGEST])):
        found.setdefault(name, unquoted(value))
    return found


def cookie_values(text: str, name: str, *, loosely: bool) -> list[str]:
    """Every value that a framework may read under a name, in one form each; none of a field that is too long to be read.

    All part cookies at semicolons; the standard library's parser and WebOb's, which Bottle and Pyramid use, also at whatever
    may not stand in one. `loosely` adds what those read.
    """
    if len(text) > LONGEST:
        return []
    text = _decoded(text)
    found = [value for key, value in _pairs(text) if key == name]
    for value in re.findall(rf"(?<![{_LEGAL}]){re.escape(name)}{_VALUE}", text, re.ASCII) if loosely else ():
        found += [value] if value.startswith('"') else [value, value.partition(",")[0], _BRACKET.split(value, 1)[0]]
    return [value for value in dict.fromkeys(_decoded(unquote(unquoted(value))).strip() for value in found) if value]


def _decoded(text: str) -> str:
    """Fields are bytes that servers hand over as latin-1; some frameworks read them as UTF-8."""
    try:
        return text.encode("latin-1").decode()
    except UnicodeError:
        return text


def unquoted(value: str) -> str:
    """A value without the quotes around it, and without the escapes that stand between quotes only."""
    if len(value) < 2 or not value.startswith('"') or not value.endswith('"'):
        return value
    return _ESCAPED.sub(lambda match: chr(int(match[1], 8)) if match[1] else match[2], value[1:-1])


def _pairs(text: str) -> list[tuple[str, str]]:
    parts = [pair.partition("=") for pair in text.split(";")]
    return [(name.strip(), value.strip()) for name, mark, value in parts if mark]
