"""`@ratelimit` for a view or a blueprint, and `@exempt` for those that the extension's rules do not limit."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar, cast

import flask

from ratelimit_kit.core.limit import Limit
from ratelimit_kit.errors import OptionError
from ratelimit_kit.flask.requests import decided, policies_in_force, translate
from ratelimit_kit.web.policy.decorators import bound_rule, wrap_view
from ratelimit_kit.web.rules.pages import (
    RULES,
    Page,
    decorated,
    first_or_numbered,
    label,
    numbered,
    of_instance,
    with_methods,
)
from ratelimit_kit.web.rules.rule import Rule, Tiers

MARK = "_ratelimit_kit_exempt"

Limited = TypeVar("Limited", bound=Any)


def ratelimit(*limits: str | Limit | Tiers, **options: Any) -> Callable[[Limited], Limited]:
    """Limit a view (below its `route`), or all views of a blueprint together; takes the limits and options of Rule.

    Without `name`, each view has its own counters, whatever its URLs.
    """
    rule = Rule(*limits, **options)

    def decorate(limited: Limited) -> Limited:
        if isinstance(limited, flask.Blueprint):
            limited.before_request(partial(_guard, rule, _of_blueprint(limited, rule)))
            return limited
        if inspect.isclass(limited):
            raise OptionError(f"{limited.__name__} is a class: write decorators = [ratelimit(...)] in it")
        page = decorated(limited, rule)

        def call(args: Any, kwargs: Any) -> Any:
            _guard(rule, of_instance(page, limited, args))
            return limited(*args, **kwargs)

        async def acall(args: Any, kwargs: Any) -> Any:
            return await call(args, kwargs)

        return cast("Limited", wrap_view(limited, rule, call, acall))

    return decorate


def exempt(limited: Limited) -> Limited:
    """Exempt a view or a blueprint from the extension's rules; its own decorators still limit it."""
    setattr(limited, MARK, True)
    return limited


def is_exempt() -> bool:
    """Whether the current request leads to an exempt view or blueprint."""
    app, request = flask.current_app, flask.request
    view = app.view_functions.get(request.endpoint or "")
    blueprints = [app.blueprints[name] for name in request.blueprints]
    return any(getattr(one, MARK, False) for one in (view, *blueprints))


def _guard(rule: Rule, page: Page) -> None:
    """Check a decorated view's own rule before it is called."""
    policy = policies_in_force()[0]
    bound = bound_rule(policy, rule, page, lambda: flask.request.endpoint or "")
    decided(policy.check(translate(), [bound], page.beside))


def _of_blueprint(blueprint: flask.Blueprint, rule: Rule) -> Page:
    """The page of a blueprint, which all its views share; the list of its rules is kept, because more may follow."""
    rules: list[Rule] = vars(blueprint).setdefault(RULES, [])
    before = list(rules)
    rules.append(rule)
    if rule.name is not None:
        return Page(rule.name, None, rules)
    name = first_or_numbered(f"blueprint.{blueprint.name}", blueprint)
    return Page(numbered(with_methods(name, rule), rule, before), label(before), rules)
