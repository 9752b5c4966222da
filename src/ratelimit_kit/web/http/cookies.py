"""Cookies as frameworks read them: every value that any of them may read under a given name.

A client can write the same cookie in many ways: quoted, with octal escapes, percent-encoded, twice, on several lines,
or with a space where a semicolon belongs. Its identity must not depend on that choice.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import unquote

LONGEST: Final = 16_384
"""Maximum length of a Cookie field that is read, in characters; servers accept lines half that long."""

_ESCAPED: Final = re.compile(r"\\(?:([0-3][0-7][0-7])|(.))", re.DOTALL)
_LEGAL: Final = r"\w!#%&'~`><@:/$*+\-.^|)(?}{="
"""Characters that the parsers of the standard library and WebOb accept in a cookie; any other ends it."""

_BRACKET: Final = re.compile(r"[\[\]]")
"""Characters that end a cookie in WebOb, but not in the standard library."""

_VALUE: Final = rf'(?=\s*=\s*("(?:[^"\\]|\\.)*"|[{_LEGAL},\[\]]*))'


def read_cookies(text: str) -> dict[str, str]:
    """The cookies of a field, by name; the first one if a name occurs more than once."""
    found: dict[str, str] = {}
    for name, value in _pairs(_decoded(text[:LONGEST])):
        found.setdefault(name, unquoted(value))
    return found


def cookie_values(text: str, name: str, *, loosely: bool) -> list[str]:
    """Every value that a framework may read under a name, in canonical form; empty for a field that is too long.

    All frameworks split cookies at semicolons; the parsers of the standard library and WebOb, which Bottle and Pyramid
    use, also split them at characters that are not allowed in a cookie. `loosely` adds what those two read.
    """
    if len(text) > LONGEST:
        return []
    text = _decoded(text)
    found = [value for key, value in _pairs(text) if key == name]
    for value in re.findall(rf"(?<![{_LEGAL}]){re.escape(name)}{_VALUE}", text, re.ASCII) if loosely else ():
        found += [value] if value.startswith('"') else [value, value.partition(",")[0], _BRACKET.split(value, 1)[0]]
    return [value for value in dict.fromkeys(_decoded(unquote(unquoted(value))).strip() for value in found) if value]


def _decoded(text: str) -> str:
    """The text read as UTF-8, if it is valid: servers pass fields on as latin-1, but some frameworks expect UTF-8."""
    try:
        return text.encode("latin-1").decode()
    except UnicodeError:
        return text


def unquoted(value: str) -> str:
    """A value without its surrounding quotes, and without the escapes that are valid only inside quotes."""
    if len(value) < 2 or not value.startswith('"') or not value.endswith('"'):
        return value
    return _ESCAPED.sub(lambda match: chr(int(match[1], 8)) if match[1] else match[2], value[1:-1])


def _pairs(text: str) -> list[tuple[str, str]]:
    parts = [pair.partition("=") for pair in text.split(";")]
    return [(name.strip(), value.strip()) for name, mark, value in parts if mark]
