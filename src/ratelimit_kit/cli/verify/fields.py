"""The rate-limit fields of a response, read as a strict client reads them: malformed ones are reported.

RateLimit and RateLimit-Policy are structured field lists (RFC 9651); only the part of the syntax that the draft uses
is read here: quoted names with integer, string, token or byte parameters.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_ITEM = re.compile(
    r'[ \t]*"((?:[ !#-\[\]-~]|\\["\\])*)"((?:;[ ]*[a-z*][a-z0-9_.*-]*(?:=[^;,"]+|="[^"]*")?)*)[ \t]*', re.ASCII
)
_PARAMETER = re.compile(r';[ ]*([a-z*][a-z0-9_.*-]*)(?:=([^;,"]+|"[^"]*"))?', re.ASCII)
_INTEGER = re.compile(r"-?[0-9]{1,15}", re.ASCII)


def read_list(text: str) -> list[tuple[str, dict[str, Any]]] | None:
    """The items of a field and their parameters; None if it is not a list of strings."""
    items: list[tuple[str, dict[str, Any]]] = []
    at = 0
    while True:
        match = _ITEM.match(text, at)
        if match is None:
            return None
        items.append(
            (re.sub(r"\\(.)", r"\1", match[1]), {name: _value(value) for name, value in _PARAMETER.findall(match[2])})
        )
        at = match.end()
        if at == len(text):
            return items
        if text[at] != ",":
            return None
        at += 1


def _value(text: str) -> Any:
    if not text:
        return True
    return int(text) if _INTEGER.fullmatch(text) else text.strip('"')


@dataclass(slots=True)
class Told:
    """What a response says about limits; `family` is "" if nothing, `malformed` names fields that cannot be read."""

    family: str = ""
    quotas: dict[str, int] = field(default_factory=dict)
    windows: dict[str, int] = field(default_factory=dict)
    remaining: dict[str, int] = field(default_factory=dict)
    after: dict[str, int] = field(default_factory=dict)
    malformed: list[str] = field(default_factory=list)


def told(headers: Mapping[str, str]) -> Told:
    """Read the fields of whichever family a response has; names in `headers` are lower-case."""
    if "ratelimit" in headers or ("ratelimit-policy" in headers and "ratelimit-limit" not in headers):
        return _draft11(headers)
    for family, prefix in (("draft6", "ratelimit"), ("x-ratelimit", "x-ratelimit")):
        if f"{prefix}-limit" in headers:
            return _triple(family, prefix, headers)
    return Told()


def _draft11(headers: Mapping[str, str]) -> Told:
    found = Told("draft11")
    for name, parts in (
        ("ratelimit-policy", (("q", found.quotas), ("w", found.windows))),
        ("ratelimit", (("r", found.remaining), ("t", found.after))),
    ):
        items = read_list(headers.get(name, ""))
        if items is None:
            found.malformed.append(name)
            continue
        for item, parameters in items:
            for letter, into in parts:
                value = parameters.get(letter)
                if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
                    into[item] = value
                elif letter in {"q", "r"} or value is not None:
                    found.malformed.append(f"{name} ({letter} of {item})")
    return found


def _triple(family: str, prefix: str, headers: Mapping[str, str]) -> Told:
    found = Told(family)
    for name, into in (("limit", found.quotas), ("remaining", found.remaining)):
        text = headers.get(f"{prefix}-{name}", "").partition(",")[0].strip()
        if _INTEGER.fullmatch(text) and int(text) >= 0:
            into[""] = int(text)
        else:
            found.malformed.append(f"{prefix}-{name}")
    return found
