"""The browser module and its stylesheet, for integrations that serve them: two files with fixed names.

Nothing that a client sends is looked up in the file system, so no path can lead outside. The files are in
static/ratelimit_kit; Django's and Starlette's static files serve them without this module.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import Final, NamedTuple

from ratelimit_kit.errors import OptionError
from ratelimit_kit.web.http.messages import Request
from ratelimit_kit.web.response.result import CheckResult, DirectResponse

MEDIA_TYPES: Final = {
    "ratelimit.js": "text/javascript; charset=utf-8",
    "ratelimit.css": "text/css; charset=utf-8",
}

FRESH: Final = "public, max-age=3600"
"""The URLs do not change with the content, so caches revalidate after an hour; most get a 304."""


class Asset(NamedTuple):
    """A file's bytes and its strong entity tag, quotes included."""

    data: bytes
    etag: str


@cache
def asset(name: str) -> Asset:
    """One of the two files; KeyError for any other name."""
    if name not in MEDIA_TYPES:
        raise KeyError(name)
    data = files("ratelimit_kit").joinpath("static", "ratelimit_kit", name).read_bytes()
    return Asset(data, f'"{sha256(data).hexdigest()[:24]}"')


def serving(prefix: str | None) -> Callable[[Request], CheckResult | None]:
    """A function that serves GET and HEAD requests for the files under a prefix such as "/ratelimit-kit".

    It returns None for any other request, which is left to the policy and the application; without a prefix, always.
    """
    if prefix is None:
        return lambda _request: None
    if not isinstance(prefix, str) or not prefix.startswith("/") or prefix.endswith("/"):
        raise OptionError(f'assets must be a prefix of paths, got {prefix!r}. For example: assets="/ratelimit-kit"')
    paths = {f"{prefix}/{name}": name for name in MEDIA_TYPES}

    def result(request: Request) -> CheckResult | None:
        name = paths.get(request.path)
        if name is None or request.method not in {"GET", "HEAD"}:
            return None
        return _result(name, request)

    return result


def _result(name: str, request: Request) -> CheckResult:
    data, etag = asset(name)
    fields = [("ETag", etag), ("Cache-Control", FRESH), ("X-Content-Type-Options", "nosniff")]
    if _known(request.headers.get("if-none-match", ""), etag):
        return DirectResponse(304, "Not Modified", fields, b"")
    fields += [("Content-Type", MEDIA_TYPES[name]), ("Content-Length", str(len(data)))]
    return DirectResponse(200, "OK", fields, b"" if request.method == "HEAD" else data)


def _known(field: str, etag: str) -> bool:
    """Whether If-None-Match names the tag, by weak comparison (RFC 9110, 13.1.2)."""
    tags = [tag.strip().removeprefix("W/") for tag in field.split(",")]
    return etag in tags or tags == ["*"]
