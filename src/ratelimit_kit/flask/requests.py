"""Flask's requests as rules see them, and how results become responses.

A refusal is raised as `TooManyRequests`, so that an `errorhandler(429)` of the application may write it;
without one the policy's own response is sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flask
from werkzeug.exceptions import HTTPException, TooManyRequests

from ratelimit_kit.errors import IdentityError, LimitExceeded, OptionError
from ratelimit_kit.web.http import wsgi as environ
from ratelimit_kit.web.http.messages import POLICY, RESULTS, Headers, Request, Response
from ratelimit_kit.web.http.users import user_text
from ratelimit_kit.web.policy.policy import Policy, responder_of
from ratelimit_kit.web.response.bodies import UnsettledBody
from ratelimit_kit.web.response.headers import join_to, missing
from ratelimit_kit.web.response.result import CheckResult

EXTENSION = "ratelimit_kit"
"""The name under which an application keeps its policies."""


def policies_in_force() -> Sequence[Policy]:
    """The extension's policies, else that of a WSGI middleware around the application."""
    found: Sequence[Policy] = flask.current_app.extensions.get(EXTENSION) or ()
    if not found and isinstance(outer := flask.request.environ.get(POLICY), Policy):
        found = [outer]
    if not found:
        raise OptionError("@ratelimit finds no policy: write RateLimit(app, policy) where the application is created")
    return found


def translate() -> Request:
    """The current request as rules see it."""
    request = flask.request
    return environ.request_of(request.environ, raw=request, user=_user, path_params=lambda: request.view_args)


def decided(result: CheckResult) -> None:
    """Raise if the request was refused; keep results that need the response."""
    error = refusal_of(result)
    if error is not None:
        raise error


def refusal_of(result: CheckResult) -> HTTPException | None:
    """The exception for a request that was refused; keeps results that need the response."""
    if result.denied or result.touches:
        if EXTENSION not in flask.current_app.extensions and RESULTS not in flask.request.environ:
            flask.after_this_request(finish)
        flask.request.environ.setdefault(RESULTS, []).append(result)
    if not result.denied:
        return None
    response = flask.Response(result.body, f"{result.status} {result.reason}", result.headers)
    return flask.current_app.aborter.mapping.get(result.status, TooManyRequests)(response=response)


def exceeded(error: LimitExceeded) -> Any:
    """The response where a view, or a function that it calls, is limited as a function; as of every other refusal."""
    refusal = refusal_of(responder_of(policies_in_force()[0]).exceeded(translate(), error))
    return flask.current_app.handle_user_exception(refusal or error)


def finish(response: flask.Response) -> flask.Response:
    """After each request, refund what does not count and add the fields."""
    results = flask.request.environ.pop(RESULTS, ())
    for result in results:
        if result.denied:  # first, so that what others add is not taken for the application's own
            join_to(
                response.headers, missing(result.limit_fields, response.status_code, Headers(lambda: response.headers))
            )
    for result in results:
        if not result.denied:
            seen = Response(response.status_code, Headers(lambda: response.headers), response)
            if result.pending and response.is_streamed and not response.direct_passthrough:
                join_to(response.headers, result.judge(seen))
                response.response = UnsettledBody(response.response, result)  # an error may still turn it into a 500
            else:
                join_to(response.headers, result.finish(seen))
    return response


def fail(_error: BaseException | None) -> None:
    """Handle the end of a request whose error left it without a response: it counts as one with status 500."""
    for result in flask.request.environ.pop(RESULTS, ()):
        if not result.denied:
            result.fail()


def _user() -> str | None:
    """Flask-Login's user, or without Flask-Login the one that the server authenticated; IdentityError if none."""
    if hasattr(flask.current_app, "login_manager"):
        from flask_login import current_user

        return user_text(current_user.get_id()) if current_user.is_authenticated else None
    name: str | None = flask.request.environ.get("REMOTE_USER")
    if name is None:
        raise IdentityError(
            'key="user" finds no user: the application has no LoginManager of Flask-Login, and the server has not authenticated '
            'anybody. Count by key="ip", or by a callable such as key=lambda request: f"user:{request.session[\'user\']}"'
        )
    return name
