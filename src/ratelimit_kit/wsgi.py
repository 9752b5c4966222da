"""The WSGI front door: `application = RateLimitMiddleware(application, policy)`.

It decides before the application is called, passes the application's own iterable through, and
never calls the application twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from ratelimit_kit.web.assets import serving
from ratelimit_kit.web.headers import Header, to_add
from ratelimit_kit.web.policy import Policy, started
from ratelimit_kit.web.request import Headers, Request

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

__all__ = ["HealthApplication", "RateLimitMiddleware"]


class RateLimitMiddleware:
    """Limits every request to a WSGI application by a policy.

    Building it raises StartupRefused when the policy could not be enforced here. `assets` is a prefix of
    paths, such as "/ratelimit-kit", under which it serves the browser module and its stylesheet.
    """

    def __init__(self, application: WSGIApplication, policy: Policy, *, assets: str | None = None) -> None:
        self._asset = serving(assets)
        self.policy = started(policy)
        self.application = application

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer 429 or 503, or let the application answer."""
        request = _request(environ)
        answer = self._asset(request) or self.policy.check(request)
        if answer.denied:
            start_response(f"{answer.status} {answer.reason}", answer.headers)
            return [answer.body]
        return self.application(environ, _adding(answer.headers, start_response) if answer.headers else start_response)


class HealthApplication:
    """Answers every request with the health of a policy; mount it where no rule limits."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer 200, or 503 when limits cannot be enforced."""
        health = self.policy.health()
        start_response(f"{health.http_status} {HTTPStatus(health.http_status).phrase}", health.fields())
        return [b"" if environ["REQUEST_METHOD"] == "HEAD" else health.body()]


def _adding(fields: list[Header], start_response: StartResponse) -> StartResponse:
    def start(status: str, headers: list[Header], exc_info: Any = None, /) -> Callable[[bytes], object]:
        names = {name.lower() for name, _ in headers}
        added = to_add(fields, int(status[:3]), lambda name: name.lower() in names)
        return start_response(status, [*headers, *added], exc_info)

    return start


def _request(environ: WSGIEnvironment) -> Request:
    path = environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", "")
    return Request(
        method=environ["REQUEST_METHOD"],
        path=path.encode("latin-1", "replace").decode("utf-8", "replace"),
        peer=environ.get("REMOTE_ADDR") or None,
        headers=Headers(lambda: _fields(environ)),
        raw=environ,
        user=lambda: environ.get("REMOTE_USER") or None,
    )


def _fields(environ: WSGIEnvironment) -> Iterator[Header]:
    for name, value in environ.items():
        if name.startswith("HTTP_"):
            yield name[5:].replace("_", "-"), value
        elif name in {"CONTENT_TYPE", "CONTENT_LENGTH"}:
            yield name.replace("_", "-"), value
