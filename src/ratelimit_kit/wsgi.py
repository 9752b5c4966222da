"""The WSGI integration: `application = RateLimitMiddleware(application, policy)`.

It decides before the application is called, passes the application's own iterable through, and never calls the
application twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from ratelimit_kit.web.http.messages import POLICY, Header, Headers, Response
from ratelimit_kit.web.http.wsgi import request_of
from ratelimit_kit.web.policy.policy import Policy, started
from ratelimit_kit.web.response.assets import serving
from ratelimit_kit.web.response.bodies import UnsettledBody
from ratelimit_kit.web.response.headers import replaced
from ratelimit_kit.web.response.health import LIVE
from ratelimit_kit.web.response.result import CheckResult

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

__all__ = ["HealthApplication", "RateLimitMiddleware"]


class RateLimitMiddleware:
    """Limits every request to a WSGI application by a policy.

    Creating it raises StartupRefused if the policy could not be enforced here. `assets` is a path prefix, such as
    "/ratelimit-kit", under which it serves the browser module and its stylesheet.
    """

    def __init__(self, application: WSGIApplication, policy: Policy, *, assets: str | None = None) -> None:
        self._asset = serving(assets)
        self.policy = started(policy, wsgi=True)
        self.application = application

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Respond with 429 or 503, or call the application."""
        request = request_of(environ)
        result = self._asset(request) or self.policy.check(request)
        if result.denied:
            start_response(f"{result.status} {result.reason}", result.headers)
            return [result.body]
        environ[POLICY] = self.policy
        if not result.touches:
            return self.application(environ, start_response)
        try:
            body = self.application(environ, finishing := _Finishing(result, start_response))
        except BaseException:
            result.fail()
            raise
        if not result.pending:
            return body
        if finishing.begun and _is_whole(body, environ):
            result.give_back()
            return body
        return UnsettledBody(body, result)


class HealthApplication:
    """Responds to every request with the health of a policy; mount it where no rule applies.

    With `live=True` it is a liveness probe: it does not contact the store, and shows only that this process responds.
    """

    def __init__(self, policy: Policy, *, live: bool = False) -> None:
        self.policy = policy
        self._live = live

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Respond with 200, or 503 if limits cannot be enforced."""
        health = LIVE if self._live else self.policy.health()
        start_response(f"{health.http_status} {HTTPStatus(health.http_status).phrase}", health.fields())
        return [b"" if environ["REQUEST_METHOD"] == "HEAD" else health.body()]


class _Finishing:
    """A `start_response` that adds the result's fields to every response; a second one may follow, with `exc_info`."""

    def __init__(self, result: CheckResult, start_response: StartResponse) -> None:
        self._result = result
        self._start_response = start_response
        self.begun = False

    def __call__(self, status: str, headers: list[Header], exc_info: Any = None, /) -> Callable[[bytes], object]:
        self.begun = True
        response = Response(int(status[:3]), Headers(lambda: headers))
        fields = self._result.judge(response)
        old = replaced(fields)
        kept = [field for field in headers if field[0].lower() not in old] if old else headers
        write = self._start_response(status, [*kept, *fields], exc_info)
        if not self._result.pending:
            return write

        def written(data: bytes) -> object:
            self._result.give_back()
            return write(data)

        return written


def _is_whole(body: Iterable[bytes], environ: WSGIEnvironment) -> bool:
    """Whether the response can no longer change: its body is complete, or a file that the server sends."""
    wrapper = environ.get("wsgi.file_wrapper")
    return isinstance(body, list | tuple) or (isinstance(wrapper, type) and isinstance(body, wrapper))
