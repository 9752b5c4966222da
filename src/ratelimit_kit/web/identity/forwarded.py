"""What proxies write down of the clients they serve: X-Forwarded-For, Forwarded (RFC 7239), or one address.

Each reader gives the nodes of a field in the order of the proxies, the last one written by the
nearest. Nothing here decides what to believe: `identity.py` does.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

HOPS: Final = 32
"""Nodes that are read at most, from the right: a client can write as many as it likes."""

LONGEST: Final = 16_384
"""Characters of a field that are read; servers take half of that for a line."""

_MARK = re.compile('[",]')
_PAIR = re.compile(r'\s*([^=;\s]+)=(?:"((?:[^"\\]|\\.)*)"|([^;\s"]*))\s*(?:;|$)')


def comma_separated(field: str) -> list[str]:
    """The nodes of X-Forwarded-For, which no standard describes: addresses between commas."""
    return field[-LONGEST:].rsplit(",", HOPS)[-HOPS:]


def forwarded(field: str) -> list[str]:
    """The `for` nodes of Forwarded, one an element; empty where an element has none or cannot be read."""
    return [_for(element) for element in _elements(field[-LONGEST:])]


def _elements(field: str) -> list[str]:
    """The last elements, between commas that stand outside of quotes.

    They are read from the right, where the nearest proxy has written: quotes that a client leaves open further to the
    left cannot swallow that. What a proxy writes has no escaped quotes.
    """
    elements: list[str] = []
    end, quoted = len(field), False
    for mark in reversed(list(_MARK.finditer(field))):
        if mark[0] == '"':
            quoted = not quoted
        elif not quoted and len(elements) < HOPS:
            elements.append(field[mark.end() : end])
            end = mark.start()
    if len(elements) < HOPS:
        elements.append(field[:end])
    return [element for element in reversed(elements) if element.strip()]


def single(field: str) -> list[str]:
    """The one address that an edge writes into a field of its own, such as X-Real-IP."""
    return [field]


READERS: Final[dict[str, Callable[[str], list[str]]]] = {"x-forwarded-for": comma_separated, "forwarded": forwarded}
"""The fields in which several proxies leave a node each; any other field holds a single address."""


def _for(element: str) -> str:
    at, node = 0, ""
    while at < len(element):
        pair = _PAIR.match(element, at)
        if pair is None:
            return ""
        if pair[1].lower() == "for":
            if node:  # each parameter may stand there once
                return ""
            node = pair[3] if pair[2] is None else re.sub(r"\\(.)", r"\1", pair[2])
        at = pair.end()
    return node
