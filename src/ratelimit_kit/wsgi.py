"""The WSGI front door: `application = RateLimitMiddleware(application, policy)`.

It decides before the application is called, passes the application's own iterable through, and
never calls the application twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from ratelimit_kit.web.answer import Answer
from ratelimit_kit.web.assets import serving
from ratelimit_kit.web.environ import request_of
from ratelimit_kit.web.headers import Header
from ratelimit_kit.web.health import LIVE
from ratelimit_kit.web.policy import Policy, started
from ratelimit_kit.web.request import POLICY, Headers, Response

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
        request = request_of(environ)
        answer = self._asset(request) or self.policy.check(request)
        if answer.denied:
            start_response(f"{answer.status} {answer.reason}", answer.headers)
            return [answer.body]
        environ[POLICY] = self.policy
        if not answer.touches:
            return self.application(environ, start_response)
        finishing = _Finishing(answer, start_response)
        try:
            body = self.application(environ, finishing)
        except BaseException:
            finishing.fail()
            raise
        return body if finishing.begun or not answer.reserved else _Late(body, finishing)


class HealthApplication:
    """Answers every request with the health of a policy; mount it where no rule limits.

    With `live=True` it is a probe for liveness, which asks no store: it says that this process answers.
    """

    def __init__(self, policy: Policy, *, live: bool = False) -> None:
        self.policy = policy
        self._live = live

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer 200, or 503 when limits cannot be enforced."""
        health = LIVE if self._live else self.policy.health()
        start_response(f"{health.http_status} {HTTPStatus(health.http_status).phrase}", health.fields())
        return [b"" if environ["REQUEST_METHOD"] == "HEAD" else health.body()]


class _Finishing:
    """A `start_response` that finishes the answer with the first response, and adds its fields to every one."""

    def __init__(self, answer: Answer, start_response: StartResponse) -> None:
        self._answer = answer
        self._start_response = start_response
        self.begun = False

    def __call__(self, status: str, headers: list[Header], exc_info: Any = None, /) -> Callable[[bytes], object]:
        if self.begun:  # an error page instead of a response that was begun
            self._answer.settle()
        self.begun = True
        added = self._answer.finish(Response(int(status[:3]), Headers(lambda: headers)))
        return self._start_response(status, [*headers, *added], exc_info)

    def fail(self) -> None:
        """The application raised: without a response begun, that counts as an answer of 500."""
        if not self.begun:
            self._answer.fail()


class _Late:
    """The body of an application that starts its response only when it is iterated, as a generator function does."""

    def __init__(self, body: Iterable[bytes], finishing: _Finishing) -> None:
        self._body = body
        self._finishing = finishing

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from self._body
        except Exception:
            self._finishing.fail()
            raise

    def close(self) -> None:
        """Servers close a body that can be closed."""
        close = getattr(self._body, "close", None)
        if close is not None:
            close()
