"""An ASGI scope as rules see it, for every front door that stands on ASGI."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from typing import Any

from ratelimit_kit.errors import IdentityError
from ratelimit_kit.web.headers import Header
from ratelimit_kit.web.request import LEDGER, Request

Scope = MutableMapping[str, Any]
RawHeaders = list[tuple[bytes, bytes]]


class RawFields(Mapping[str, str]):
    """The fields of a scope or a message: pairs of bytes; repeated ones are joined by commas."""

    __slots__ = ("_fields",)

    def __init__(self, fields: Iterable[tuple[bytes, bytes]]) -> None:
        self._fields = fields if isinstance(fields, list | tuple) else list(fields)

    def __getitem__(self, name: str) -> str:
        wanted = name.lower().encode("latin-1", "replace")
        found = [value for key, value in self._fields if key == wanted or bytes(key).lower() == wanted]
        if not found:
            raise KeyError(name)
        return b", ".join(found).decode("latin-1")

    def __contains__(self, name: object) -> bool:
        if not isinstance(name, str):
            return False
        wanted = name.lower().encode("latin-1", "replace")
        return any(key == wanted or bytes(key).lower() == wanted for key, _ in self._fields)

    def __iter__(self) -> Iterator[str]:
        return iter({bytes(name).lower().decode("latin-1"): None for name, _ in self._fields})

    def __len__(self) -> int:
        return sum(1 for _ in self)


def request_of(scope: Scope, *, raw: Any = None) -> Request:
    """The request that a scope describes; `raw` where a framework has one of its own."""
    client = scope.get("client")
    return Request(
        method=scope.get("method", "GET"),
        path=scope["path"],
        peer=client[0] if client else None,
        headers=RawFields(scope.get("headers", ())),
        raw=scope if raw is None else raw,
        user=lambda: _user(scope),
        ledger=scope.get(LEDGER),
        path_params=lambda: scope.get("path_params"),
    )


def raw_fields(fields: Iterable[Header]) -> RawHeaders:
    """Fields as ASGI sends them: lower-case names, bytes."""
    return [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in fields]


def _user(scope: Scope) -> str | None:
    if "user" not in scope:
        raise IdentityError(
            'key="user" finds no user in the ASGI scope: put the authentication middleware outside of the rate limit, or count by key="ip"'
        )
    user = scope["user"]
    if not getattr(user, "is_authenticated", user is not None):
        return None
    for name in ("pk", "id", "username"):
        value = getattr(user, name, None)
        if value is not None:
            return str(value)
    return str(user)
