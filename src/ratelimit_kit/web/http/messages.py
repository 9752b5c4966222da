"""Requests and responses as rules and policies see them; the integrations build them.

Callables in rules (`key`, `when`, `cost`, `limits`) receive a Request, and `count` receives a Response. Unknown
attributes are looked up on the framework's own object, so `request.user` and `request.session` work if they exist.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from ratelimit_kit.web.callables import Bridge
from ratelimit_kit.web.http.cookies import read_cookies
from ratelimit_kit.web.http.spellings import canonical, spellings

Header = tuple[str, str]
"""A field's name and its value."""

FIELD_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", re.ASCII)
"""A valid HTTP field name (RFC 9110, 5.1)."""

ALREADY_CHARGED = "ratelimit_kit.already_charged"
"""The key of the WSGI environ or ASGI scope under which integrations record what a request has been charged."""

POLICY = "ratelimit_kit.policy"
"""The key under which a middleware stores its policy, for decorators and dependencies without one."""

RESULTS = "ratelimit_kit.results"
"""The key for the results that need the response: the middleware's own and those of decorators."""


APPLICATION = "ratelimit_kit.application"
"""The key under which the ASGI middleware stores its application, whose routes lead to every page."""


class AlreadyCharged(list[Any]):
    """What middlewares and decorators have charged a request so far; `shown` is what its response shows of that."""

    __slots__ = ("shown",)
    shown: Any


class Headers(Mapping[str, str]):
    """Header fields by name, case-insensitive; repeated fields are joined by commas."""

    __slots__ = ("_fields", "_read")

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

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower() in self._all()

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())


class Request:
    """A request as rules see it.

    `method` is upper-case, because frameworks treat `post` like `POST`; `path` is decoded and complete, including the
    mount point `mount`; `peer` is the address of the transport's other end, None on a UNIX socket; `raw` is the
    framework's own request: a WSGI environ, an ASGI scope, or a request of Django, Flask or Starlette;
    `already_charged` lists what middlewares and decorators have charged the request so far; `path_params` are the
    values that routing found in the path, None before routing; `answers_as_get` is false for a HEAD request if some
    rule names HEAD; `bridge` is the framework's for callables, if it has one.
    """

    __slots__ = (
        "_auser",
        "_path_params",
        "_spellings",
        "_user",
        "already_charged",
        "answers_as_get",
        "bridge",
        "headers",
        "method",
        "mount",
        "path",
        "peer",
        "raw",
    )

    def __init__(
        self,
        method: str,
        path: str,
        peer: str | None,
        headers: Mapping[str, str],
        raw: Any,
        user: Callable[[], str | None],
        auser: Callable[[], Awaitable[str | None]] | None = None,
        already_charged: AlreadyCharged | None = None,
        path_params: Callable[[], Mapping[str, Any] | None] | None = None,
        mount: str = "",
        bridge: Bridge | None = None,
    ) -> None:
        self.method = method.upper()
        self.answers_as_get = True
        self.path = path
        self.peer = peer
        self.headers = headers
        self.raw = raw
        self.already_charged = AlreadyCharged() if already_charged is None else already_charged
        self._user = user
        self._auser = auser
        self._path_params = path_params
        self.mount = mount
        self.bridge = bridge
        self._spellings: Sequence[str] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(object.__getattribute__(self, "raw"), name)  # a copy that is being made has none yet

    def user_id(self) -> str | None:
        """The signed-in user's identity as text; None for an anonymous visitor."""
        return self._user()

    async def auser_id(self) -> str | None:
        """Do what `user_id` does, without blocking the event loop."""
        return self._user() if self._auser is None else await self._auser()

    @property
    def path_params(self) -> Mapping[str, Any] | None:
        """The values that routing found in the path, by name; None before routing."""
        return None if self._path_params is None else self._path_params()

    @property
    def spellings(self) -> Sequence[str]:
        """The path as received and in canonical form, each both complete and as a mounted application sees it."""
        if self._spellings is None:
            self._spellings = spellings(self.path, self.mount)
        return self._spellings

    @property
    def canonical_path(self) -> str:
        """The complete path without repeated slashes, dot segments, escapes, or a trailing slash or line break."""
        return canonical(self.path)

    @property
    def cookies(self) -> dict[str, str]:
        """The cookies by name, unquoted; the first one if a name occurs more than once (RFC 6265, 5.4)."""
        return read_cookies("; ".join(self.values("cookie")))

    def values(self, name: str) -> list[str]:
        """The values of a field, one per field line that was sent."""
        lines = getattr(self.headers, "lines", None)
        if lines is not None:
            return list(lines(name))
        return [self.headers[name]] if name in self.headers else []

    def is_preflight(self) -> bool:
        """Whether this is a CORS preflight, sent by a browser before the real request."""
        return self.method == "OPTIONS" and "origin" in self.headers and "access-control-request-method" in self.headers


class Response:
    """A response as `count` sees it: its status, its header fields and, in `raw`, the framework's own, if any."""

    __slots__ = ("bridge", "headers", "raw", "status")

    def __init__(self, status: int, headers: Mapping[str, str], raw: Any = None, bridge: Bridge | None = None) -> None:
        self.status = status
        self.bridge = bridge
        self.headers = headers
        self.raw = raw

    def __getattr__(self, name: str) -> Any:
        return getattr(object.__getattribute__(self, "raw"), name)  # a copy that is being made has none yet
