"""The fields in which proxies report their clients: X-Forwarded-For, Forwarded (RFC 7239), or a single address.

Each reader returns the nodes of a field in the order of the proxies; the nearest proxy wrote the last one. Which nodes
to trust is decided in `address.py`, not here.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

HOPS: Final = 32
"""Maximum number of nodes that are read, from the right: a client can send as many as it likes."""

LONGEST: Final = 16_384
"""Maximum number of characters of a field that are read, from the right; servers accept lines half that long."""

_MARK = re.compile('[",]')
_PAIR = re.compile(r'\s*([^=;\s]+)=(?:"((?:[^"\\]|\\.)*)"|([^;\s"]*))\s*(?:;|$)')


def comma_separated(field: str) -> list[str]:
    """The nodes of X-Forwarded-For, which no standard describes: addresses separated by commas."""
    return field[-LONGEST:].rsplit(",", HOPS)[-HOPS:]


def forwarded(field: str) -> list[str]:
    """The `for` node of each element of Forwarded; "" for an element that has none or cannot be read."""
    return [_for(element) for element in _elements(field[-LONGEST:])]


def _elements(field: str) -> list[str]:
    """The last elements of a field, split at commas outside quotes.

    The field is read from the right, where the nearest proxy wrote: a quote that a client left open further to the
    left cannot swallow that part. Proxies do not write escaped quotes.
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
    """The single address that an edge server writes in a field of its own, such as X-Real-IP."""
    return [field]


READERS: Final[dict[str, Callable[[str], list[str]]]] = {"x-forwarded-for": comma_separated, "forwarded": forwarded}
"""The fields to which each proxy adds a node; any other field holds a single address."""


def _for(element: str) -> str:
    at, node = 0, ""
    while at < len(element):
        pair = _PAIR.match(element, at)
        if pair is None:
            return ""
        if pair[1].lower() == "for":
            if node:  # a parameter may occur only once
                return ""
            node = pair[3] if pair[2] is None else re.sub(r"\\(.)", r"\1", pair[2])
        at = pair.end()
    return node
