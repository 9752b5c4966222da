"""The only view of HTTP that rules and policies have; the front doors build it.

Callables in rules (`key`, `when`, `cost`) are given this object. What it does not know it looks up
on the framework's own request, so `request.user` or `request.session` work where they exist.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from typing import Any


class Headers(Mapping[str, str]):
    """Request fields by name, in any case; repeated fields are joined by commas."""

    def __init__(self, fields: Callable[[], Iterable[tuple[str, str]]]) -> None:
        self._fields = fields
        self._read: dict[str, str] | None = None

    def _all(self) -> dict[str, str]:
        if self._read is None:
            self._read = {}
            for name, value in self._fields():
                lower = name.lower()
                self._read[lower] = f"{self._read[lower]}, {value}" if lower in self._read else value
        return self._read

    def __getitem__(self, name: str) -> str:
        return self._all()[name.lower()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())


class Request:
    """A request as rules see it.

    `path` is decoded and complete (with the mount point); `peer` is the transport's other end,
    None on a UNIX socket; `raw` is the framework's own request: a WSGI environ, an ASGI scope, a
    Django HttpRequest.
    """

    __slots__ = ("_auser", "_user", "headers", "method", "path", "peer", "raw")

    def __init__(
        self,
        *,
        method: str,
        path: str,
        peer: str | None,
        headers: Mapping[str, str],
        raw: Any,
        user: Callable[[], str | None],
        auser: Callable[[], Awaitable[str | None]] | None = None,
    ) -> None:
        self.method = method
        self.path = path
        self.peer = peer
        self.headers = headers
        self.raw = raw
        self._user = user
        self._auser = auser

    def __getattr__(self, name: str) -> Any:
        return getattr(self.raw, name)

    def user_id(self) -> str | None:
        """The signed-in user's identity as text; None for an anonymous visitor."""
        return self._user()

    async def auser_id(self) -> str | None:
        """Do what `user_id` does, without blocking the event loop."""
        return self._user() if self._auser is None else await self._auser()

    def is_preflight(self) -> bool:
        """Whether the browser asks for CORS permission before the real request."""
        return self.method == "OPTIONS" and "origin" in self.headers and "access-control-request-method" in self.headers
