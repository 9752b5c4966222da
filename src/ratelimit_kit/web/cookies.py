"""Cookies as frameworks read them: every value that one of them may take for the cookie of a name.

A client chooses how it writes a cookie: quoted, with octal escapes, percent-encoded, twice, in several lines, or
with a blank where a semicolon belongs. What identifies it must not depend on that.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote

BLANKS: Final = " \t\r\n"
"""What may stand around a value of a field (RFC 9110, 5.6.3), and what is left of a folded line."""

LONGEST: Final = 16_384
"""Characters of a Cookie field that are read; servers take half of that for a line."""

_ESCAPED: Final = re.compile(r"\\(?:([0-3][0-7][0-7])|(.))", re.DOTALL)
_VALUE: Final = r'\s*=\s*("(?:[^"\\]|\\.)*"|[^\s;,]*)'


def read_cookies(text: str) -> dict[str, str]:
    """The cookies of a field by name; of several with one name the first."""
    found: dict[str, str] = {}
    for name, value in _pairs(text[:LONGEST]):
        found.setdefault(name, unquoted(value))
    return found


def cookie_values(text: str, name: str) -> list[str]:
    """Every value that a framework may read under a name: between semicolons, and up to a blank or a comma.

    None of a field that is too long to be read.
    """
    if len(text) > LONGEST:
        return []
    found = [value for key, value in _pairs(text) if key == name]
    found += re.findall(rf"(?<![^\s;,]){re.escape(name)}{_VALUE}", text)
    return [value for value in dict.fromkeys(unquote(unquoted(value), "latin-1") for value in found) if value]


def unquoted(value: str) -> str:
    """A value without the quotes around it, and without the escapes that stand between quotes only."""
    if len(value) < 2 or not value.startswith('"') or not value.endswith('"'):
        return value
    return _ESCAPED.sub(lambda match: chr(int(match[1], 8)) if match[1] else match[2], value[1:-1])


def _pairs(text: str) -> list[tuple[str, str]]:
    parts = [pair.partition("=") for pair in text.split(";")]
    return [(name.strip(), value.strip()) for name, mark, value in parts if mark]
