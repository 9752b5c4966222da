"""`@ratelimit` for a view or a blueprint, and `@exempt` for those that the extension's rules leave alone."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cache, wraps
from typing import Any, TypeVar, cast

import flask

from ratelimit_kit.core.limits import Limit
from ratelimit_kit.errors import OptionError
from ratelimit_kit.flask.requests import decided, policy_in_force, translate
from ratelimit_kit.web.claims import NamedRule
from ratelimit_kit.web.misplaced import note
from ratelimit_kit.web.policy import Policy
from ratelimit_kit.web.rules import Rule, Tiers

MARK = "_ratelimit_kit_exempt"

Limited = TypeVar("Limited", bound=Any)


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

            note(limited)
            return cast("Limited", asynchronous)

        @wraps(limited)
        def synchronous(*args: Any, **kwargs: Any) -> Any:
            _guard(rule, name)
            return limited(*args, **kwargs)

        note(limited)
        return cast("Limited", synchronous)

    return decorate


def exempt(limited: Limited) -> Limited:
    """Leave a view or a blueprint to itself: the extension's rules do not limit it, its own decorators do."""
    setattr(limited, MARK, True)
    return limited


def is_exempt() -> bool:
    """Whether the request leads to a view or a blueprint that is marked."""
    app, request = flask.current_app, flask.request
    view = app.view_functions.get(request.endpoint or "")
    blueprints = [app.blueprints[name] for name in request.blueprints]
    return any(getattr(one, MARK, False) for one in (view, *blueprints))


def _guard(rule: Rule, name: str) -> None:
    """Before a decorated view: its own rule."""
    policy = policy_in_force()
    decided(policy.check(translate(), [_named(policy, rule, name)]))


@cache
def _named(policy: Policy, rule: Rule, name: str) -> NamedRule:
    return policy.named(rule, name)
