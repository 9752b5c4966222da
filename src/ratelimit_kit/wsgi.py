"""The WSGI integration: `application = RateLimitMiddleware(application, policy)`.

It decides before the application is called, passes the application's own iterable through, and never calls the
application twice.
"""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from ratelimit_kit.errors import LimitExceeded
from ratelimit_kit.guard.checks.decorator_order import REFUSALS
from ratelimit_kit.web.http.messages import POLICY, Header, Headers, Request, Response
from ratelimit_kit.web.http.wsgi import request_of
from ratelimit_kit.web.policy.policy import Policy, responder_of, started
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
        finishing = _Finishing(result, start_response)
        exceeding = _Exceeding(self.policy, request, finishing if result.touches else start_response)
        token = REFUSALS.set(exceeding.refusals)
        try:
            body = self.application(environ, exceeding)
        except LimitExceeded as error:  # of the application itself, or of a function that it calls
            exceeding.refusals.append(weakref.ref(error))
            exceeding("500 Internal Server Error", [], sys.exc_info())
            body = ()
        except BaseException:
            result.fail()
            raise
        finally:
            REFUSALS.reset(token)
        if exceeding.body is not None:
            getattr(body, "close", bool)()
            body = [exceeding.body]
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


class _Exceeding:
    """A `start_response` that replaces the 500 that a framework makes of the refusal of a function; `body` is the new one's.

    A 500 while a refusal is being handled is taken to be that one's: most frameworks show a middleware no exception.
    """

    def __init__(self, policy: Policy, request: Request, start_response: StartResponse) -> None:
        self.refusals: list[weakref.ref[LimitExceeded]] = []
        self.body: bytes | None = None
        self._policy = policy
        self._request = request
        self._start_response = start_response

    def __call__(self, status: str, headers: list[Header], exc_info: Any = None, /) -> Callable[[bytes], object]:
        error = self.refusals[-1]() if self.refusals and status.startswith("500") else None
        if error is None:
            return self._start_response(status, headers, exc_info)
        refused = responder_of(self._policy).exceeded(self._request, error)
        self.body = refused.body
        self._start_response(f"{refused.status} {refused.reason}", refused.headers, exc_info)
        return len  # what is written belonged to the other response


def _is_whole(body: Iterable[bytes], environ: WSGIEnvironment) -> bool:
    """Whether the response can no longer change: its body is complete, or a file that the server sends."""
    wrapper = environ.get("wsgi.file_wrapper")
    return isinstance(body, list | tuple) or (isinstance(wrapper, type) and isinstance(body, wrapper))
