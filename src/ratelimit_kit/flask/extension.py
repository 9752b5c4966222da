"""The extension: the policy of an application, checked before every request."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike

import click
import flask

from ratelimit_kit.errors import LimitExceeded, OptionError
from ratelimit_kit.flask.decorators import is_exempt
from ratelimit_kit.flask.requests import EXTENSION, decided, exceeded, fail, finish, policies_in_force, translate
from ratelimit_kit.guard.abort import refuse
from ratelimit_kit.guard.checks.decorator_order import misplaced
from ratelimit_kit.web.policy.policy import Policy, started

LOOKED = "ratelimit_kit.looked"
SETTING = "RATELIMIT_KIT"


class RateLimit:
    """Limits a Flask application by a policy, or by the one in its setting RATELIMIT_KIT.

    `RateLimit(app, policy)`, or `RateLimit()` and later `init_app(app, policy)`. The setting is a mapping for
    `Policy.from_config`, the path of a TOML file, or a Policy. A policy without rules serves
    decorators only. A further policy on the same application applies too; decorators count on the first one.
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
            started(policy, needs_rules=False, wsgi=True)
        policies: list[Policy] = app.extensions.setdefault(EXTENSION, [])
        if not policies:
            app.before_request_funcs.setdefault(None, []).insert(0, _limit)
            app.after_request_funcs.setdefault(None, []).insert(0, finish)
            app.teardown_request(fail)
            app.error_handler_spec[None][None].setdefault(LimitExceeded, exceeded)
        if policy not in policies:
            policies.append(policy)


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


def _limit() -> None:
    """Check the rules of all policies before each request, and before the first one also how views are decorated."""
    app = flask.current_app
    if LOOKED not in app.extensions:
        refusal = misplaced(app.view_functions.values(), "@app.route(...)")
        if refusal is not None:
            refuse(refusal)
        app.extensions[LOOKED] = True
    if not is_exempt():
        for policy in policies_in_force():
            decided(policy.check(translate()))


def _is_served() -> bool:
    """Whether the application is created to serve requests: other `flask` commands need no store."""
    command = click.get_current_context(silent=True)
    if command is None or command.find_object(flask.cli.ScriptInfo) is None:  # granian and uvicorn use click too
        return True
    return command.info_name == "run"
