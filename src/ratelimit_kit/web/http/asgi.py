"""ASGI scopes as rules see them, for every ASGI integration."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from typing import Any

from ratelimit_kit.errors import IdentityError
from ratelimit_kit.web.http.messages import ALREADY_CHARGED, Header, Request
from ratelimit_kit.web.http.users import user_text

Scope = MutableMapping[str, Any]
RawHeaders = list[tuple[bytes, bytes]]


class RawFields(Mapping[str, str]):
    """The header fields of a scope or a message, given as pairs of bytes; repeated fields are joined by commas."""

    __slots__ = ("_fields", "_names")

    def __init__(self, fields: Iterable[tuple[bytes, bytes]]) -> None:
        self._fields = fields if isinstance(fields, list | tuple) else list(fields)
        self._names: bytes | None = None

    def __getitem__(self, name: str) -> str:
        wanted = name.lower().encode("latin-1", "replace")
        found = [value for key, value in self._fields if key == wanted or bytes(key).lower() == wanted]
        if not found:
            raise KeyError(name)
        return b", ".join(found).decode("latin-1")

    def lines(self, name: str) -> list[str]:
        """The values of a field, one per field line that was sent."""
        wanted = name.lower().encode("latin-1", "replace")
        return [value.decode("latin-1") for key, value in self._fields if bytes(key).lower() == wanted]

    def __contains__(self, name: object) -> bool:
        names = self._names
        if names is None:  # one byte string is much faster to search than a list
            names = self._names = b"\n%b\n" % b"\n".join([key for key, _ in self._fields]).lower()
        return isinstance(name, str) and (_LINES.get(name) or _line(name)) in names

    def __iter__(self) -> Iterator[str]:
        return iter({bytes(name).lower().decode("latin-1"): None for name, _ in self._fields})

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _line(name: str) -> bytes:
    return b"\n%b\n" % name.lower().encode("latin-1", "replace")


_LINES = {name: _line(name) for name in ("origin", "age", "cache-control")}
"""The fields that are looked up in every request or response."""


def request_of(scope: Scope, *, raw: Any = None) -> Request:
    """The request that a scope describes; `raw` is the framework's own request, if it has one."""
    client = scope.get("client")
    return Request(
        scope.get("method", "GET"),
        scope["path"],
        client[0] if client else None,
        RawFields(scope.get("headers", ())),
        scope if raw is None else raw,
        lambda: _user(scope),
        None,
        scope.get(ALREADY_CHARGED),
        lambda: scope.get("path_params"),
        scope.get("root_path", ""),
    )


def raw_fields(fields: Iterable[Header]) -> RawHeaders:
    """Fields as ASGI sends them: pairs of bytes, with lower-case names."""
    return [(_RAW.get(name) or name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in fields]


_RAW = {name: name.lower().encode() for name in ("RateLimit", "RateLimit-Policy")}


def _user(scope: Scope) -> str | None:
    if "user" not in scope:
        raise IdentityError(
            'key="user" finds no user in the ASGI scope: put the authentication middleware outside the rate limit, or count by key="ip"'
        )
    return user_text(scope["user"])
