"""WSGI environs as rules see them, for every WSGI integration."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from ratelimit_kit.web.http.messages import ALREADY_CHARGED, AlreadyCharged, Request

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment


class EnvironHeaders(Mapping[str, str]):
    """The request's header fields in an environ; the server has already joined repeated ones."""

    __slots__ = ("_environ",)

    def __init__(self, environ: WSGIEnvironment) -> None:
        self._environ = environ

    def __getitem__(self, name: str) -> str:
        value: str = self._environ[_NAMES.get(name) or _variable(name)]
        return value

    def lines(self, name: str) -> list[str]:
        """The values of a field: at most one, because the server has already joined repeated fields."""
        value = self._environ.get(_NAMES.get(name) or _variable(name))
        return [] if value is None else [value]

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and (_NAMES.get(name) or _variable(name)) in self._environ

    def __iter__(self) -> Iterator[str]:
        for variable in self._environ:
            if variable.startswith("HTTP_"):
                yield variable[5:].replace("_", "-").lower()
            elif variable in {"CONTENT_TYPE", "CONTENT_LENGTH"}:
                yield variable.replace("_", "-").lower()

    def __len__(self) -> int:
        return sum(1 for _ in self)


def _variable(name: str) -> str:
    upper = name.upper().replace("-", "_")
    return upper if upper in {"CONTENT_TYPE", "CONTENT_LENGTH"} else "HTTP_" + upper


_NAMES = {name: _variable(name) for name in ("origin", "accept", "x-forwarded-for", "forwarded", "cookie")}
"""The environ keys of the fields that policies read."""


def request_of(
    environ: WSGIEnvironment,
    *,
    raw: Any = None,
    user: Callable[[], str | None] | None = None,
    path_params: Callable[[], Mapping[str, Any] | None] | None = None,
) -> Request:
    """The request that an environ describes; `raw`, `user` and `path_params` are the framework's, if it has them."""
    mount = environ.get("SCRIPT_NAME", "")
    path = mount + environ.get("PATH_INFO", "")
    if not path.isascii():
        mount, path = _decoded(mount), _decoded(path)
    already_charged = environ.get(ALREADY_CHARGED)
    if already_charged is None:
        already_charged = environ[ALREADY_CHARGED] = AlreadyCharged()
    return Request(
        environ["REQUEST_METHOD"],
        path,
        environ.get("REMOTE_ADDR") or None,
        EnvironHeaders(environ),
        environ if raw is None else raw,
        user or (lambda: environ.get("REMOTE_USER") or None),
        None,
        already_charged,
        path_params,
        mount,
    )


def _decoded(path: str) -> str:
    """The path decoded as UTF-8: WSGI passes its bytes on as latin-1."""
    return path.encode("latin-1", "replace").decode("utf-8", "replace")
