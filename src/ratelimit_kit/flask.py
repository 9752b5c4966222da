"""The Flask front door: an extension for the whole application, decorators for views and blueprints.

`RateLimit(app, policy)` limits every request before the view, and before Flask's own error pages for
paths that lead nowhere. A refusal is raised as `TooManyRequests`, so that an `errorhandler(429)` of
the application may word it; without one the policy's own answer is sent.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import cache, wraps
from os import PathLike
from typing import Any, TypeVar, cast

from ratelimit_kit.core.limits import Limit
from ratelimit_kit.errors import DependencyError, IdentityError, OptionError
from ratelimit_kit.web import environ
from ratelimit_kit.web.answer import Answer
from ratelimit_kit.web.claims import NamedRule
from ratelimit_kit.web.headers import LISTS, Header
from ratelimit_kit.web.health import LIVE, Health
from ratelimit_kit.web.policy import Policy, started
from ratelimit_kit.web.request import ANSWERS, POLICY, Headers, Request, Response
from ratelimit_kit.web.rules import Rule, Tiers

try:
    import click
    import flask
    from werkzeug.exceptions import TooManyRequests
except ImportError as error:
    raise DependencyError(
        "ratelimit_kit.flask needs Flask, which is not installed: pip install 'ratelimit-kit[flask]'"
    ) from error

__all__ = ["RateLimit", "assets", "exempt", "health", "liveness", "ratelimit"]

EXTENSION = "ratelimit_kit"
SETTING = "RATELIMIT_KIT"
MARK = "_ratelimit_kit_exempt"

Limited = TypeVar("Limited", bound=Any)


class RateLimit:
    """Limits a Flask application by a policy, or by the one in its setting RATELIMIT_KIT.

    `RateLimit(app, policy)`, or `RateLimit()` and later `init_app(app, policy)`. The setting is a mapping as
    `Policy.from_config` takes it, the path of a TOML file, or a Policy. A policy without rules serves
    decorators only.
    """

    def __init__(self, app: flask.Flask | None = None, policy: Policy | None = None) -> None:
        if isinstance(app, Policy):
            raise OptionError("RateLimit takes the application first: RateLimit(app, policy)")
        self._policy = policy
        if app is not None:
            self.init_app(app)

    def init_app(self, app: flask.Flask, policy: Policy | None = None) -> None:
        """Limit this application; raises StartupRefused when the policy could not be enforced."""
        policy = policy or self._policy or _configured(app)
        if _is_served():
            started(policy, needs_rules=False)
        app.extensions[EXTENSION] = policy
        app.before_request_funcs.setdefault(None, []).insert(0, _limit)
        app.after_request_funcs.setdefault(None, []).insert(0, _finish)
        app.teardown_request(_fail)


def ratelimit(*limits: str | Limit | Tiers, **options: Any) -> Callable[[Limited], Limited]:
    """Limit a view, beneath its `route`, or all views of a blueprint together; takes the limits and options of Rule.

    Without `name` each view has counters of its own, whatever its URLs.
    """
    rule = Rule(*limits, **options)

    def decorate(limited: Limited) -> Limited:
        if isinstance(limited, flask.Blueprint):
            name = rule.name or f"blueprint.{limited.name}"
            limited.before_request(lambda: _guard(rule, name))
            return limited
        if inspect.isclass(limited):
            raise OptionError(f"{limited.__name__} is a class: write decorators = [ratelimit(...)] in it")
        name = rule.name or f"{limited.__module__}.{limited.__qualname__}"
        if inspect.iscoroutinefunction(limited):

            @wraps(limited)
            async def asynchronous(*args: Any, **kwargs: Any) -> Any:
                _guard(rule, name)
                return await limited(*args, **kwargs)

            return cast("Limited", asynchronous)

        @wraps(limited)
        def synchronous(*args: Any, **kwargs: Any) -> Any:
            _guard(rule, name)
            return limited(*args, **kwargs)

        return cast("Limited", synchronous)

    return decorate


def exempt(limited: Limited) -> Limited:
    """Leave a view or a blueprint to itself: the extension's rules do not limit it, its own decorators do."""
    setattr(limited, MARK, True)
    return limited


def health() -> flask.Response:
    """A view that answers with the health of the application's policy: 200, or 503 when limits cannot be enforced.

    `app.add_url_rule("/healthz", view_func=health)`. No rule limits it.
    """
    return _told(_policy().health())


def liveness() -> flask.Response:
    """A view for a liveness probe, which must ask no store: this process answers. No rule limits it."""
    return _told(LIVE)


def _told(found: Health) -> flask.Response:
    body = b"" if flask.request.method == "HEAD" else found.body()
    return flask.Response(body, found.http_status, found.fields())


exempt(health)
exempt(liveness)


def assets(prefix: str = "/ratelimit-kit") -> flask.Blueprint:
    """The browser module and its stylesheet: `app.register_blueprint(assets())`. No rule limits them."""
    folder = "static/ratelimit_kit"
    return exempt(flask.Blueprint("ratelimit_kit", "ratelimit_kit", static_folder=folder, static_url_path=prefix))


def _configured(app: flask.Flask) -> Policy:
    config = app.config.get(SETTING)
    if isinstance(config, Policy):
        return config
    if isinstance(config, str | PathLike):
        return Policy.from_file(config)  # type: ignore[arg-type]
    if isinstance(config, Mapping):
        return Policy.from_config(config)
    raise OptionError(
        f"RateLimit was given no policy, and app.config[{SETTING!r}] has none: write RateLimit(app, policy), or set it to "
        '{"store": "redis://127.0.0.1:6379/0", "rules": [{"limits": "100/minute", "key": "ip"}]} or to the path of a file'
    )


def _policy() -> Policy:
    """The extension's policy, else that of a WSGI middleware around the application."""
    policy = flask.current_app.extensions.get(EXTENSION) or flask.request.environ.get(POLICY)
    if not isinstance(policy, Policy):
        raise OptionError("@ratelimit finds no policy: write RateLimit(app, policy) where the application is made")
    return policy


def _limit() -> None:
    """Before each request: the extension's rules."""
    if not _is_exempt():
        _decided(_policy().check(_request()))


def _guard(rule: Rule, name: str) -> None:
    """Before a decorated view: its own rule."""
    policy = _policy()
    _decided(policy.check(_request(), [_named(policy, rule, name)]))


@cache
def _named(policy: Policy, rule: Rule, name: str) -> NamedRule:
    return policy.named(rule, name)


def _decided(answer: Answer) -> None:
    """Raise a refusal; keep what has to see the response."""
    if answer.denied or answer.touches:
        flask.request.environ.setdefault(ANSWERS, []).append(answer)
    if answer.denied:
        response = flask.Response(answer.body, f"{answer.status} {answer.reason}", answer.headers)
        raise flask.current_app.aborter.mapping.get(answer.status, TooManyRequests)(response=response)


def _finish(response: flask.Response) -> flask.Response:
    """After each request: give back what does not count, add the fields."""
    for answer in flask.request.environ.pop(ANSWERS, ()):
        if answer.denied:
            kept = {name.lower() for name, _ in response.headers}
            _add(
                response,
                [field for field in answer.headers if _tells_of_limits(field) and field[0].lower() not in kept],
            )
        else:
            _add(response, answer.finish(Response(response.status_code, Headers(lambda: response.headers), response)))
    return response


def _fail(_error: BaseException | None) -> None:
    """At the end of a request without a response, whose error was passed on: that counts as one with status 500."""
    for answer in flask.request.environ.pop(ANSWERS, ()):
        if not answer.denied:
            answer.fail()


def _tells_of_limits(field: Header) -> bool:
    """Whether a field of a refusal belongs on the application's own error page too."""
    return not field[0].lower().startswith("content-") and field[0].lower() != "vary"


def _add(response: flask.Response, fields: list[Header]) -> None:
    for name, value in fields:
        joined = name.lower() in LISTS and name in response.headers
        response.headers[name] = f"{response.headers[name]}, {value}" if joined else value


def _is_exempt() -> bool:
    app, request = flask.current_app, flask.request
    view = app.view_functions.get(request.endpoint or "")
    blueprints = [app.blueprints[name] for name in request.blueprints]
    return any(getattr(one, MARK, False) for one in (view, *blueprints))


def _request() -> Request:
    request = flask.request
    return environ.request_of(request.environ, raw=request, user=_user, path_params=lambda: request.view_args)


def _user() -> str | None:
    """Flask-Login's user; without it the one that the server has authenticated."""
    if hasattr(flask.current_app, "login_manager"):
        from flask_login import current_user

        return str(current_user.get_id()) if current_user.is_authenticated else None
    name: str | None = flask.request.environ.get("REMOTE_USER")
    if name is None:
        raise IdentityError(
            'key="user" finds no user: the application has no LoginManager of Flask-Login, and the server has authenticated '
            'nobody. Count by key="ip", or by a callable such as key=lambda request: f"user:{request.session[\'user\']}"'
        )
    return name


def _is_served() -> bool:
    """Whether the application is being made to serve: other commands of `flask` need no store."""
    command = click.get_current_context(silent=True)
    return command is None or command.info_name == "run"
