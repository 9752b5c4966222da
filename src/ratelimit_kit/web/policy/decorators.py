"""What the view decorators of all frameworks share: the wrapper around a view, and the rule under its name."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import cache, wraps
from typing import Any

from ratelimit_kit.core.calling import is_asynchronous
from ratelimit_kit.guard.decorator_order import note
from ratelimit_kit.web.policy.policy import Policy
from ratelimit_kit.web.rules.charges import BoundRule
from ratelimit_kit.web.rules.pages import Page, mark
from ratelimit_kit.web.rules.rule import Rule

Call = Callable[[Any, Any], Any]
"""Calls a view with the arguments and the keywords that the framework has given."""


def wrap_view(
    view: Any, rule: Rule, call: Call, acall: Callable[[Any, Any], Awaitable[Any]], *, asynchronous: bool | None = None
) -> Any:
    """A view that is called by `call`, or awaited by `acall` where it is asynchronous itself.

    The wrapper has the name and the signature of the view, and the frameworks' start checks know it.
    """
    if is_asynchronous(view) if asynchronous is None else asynchronous:

        @wraps(view)
        async def awaited(*args: Any, **kwargs: Any) -> Any:
            return await acall(args, kwargs)

        wrapper: Any = awaited
    else:

        @wraps(view)
        def called(*args: Any, **kwargs: Any) -> Any:
            return call(args, kwargs)

        wrapper = called
    note(view, wrapper)
    mark(wrapper, view, rule)
    return wrapper


def bound_rule(policy: Policy, rule: Rule, page: Page, place: Callable[[], str]) -> BoundRule:
    """The rule of a page under its name; `place` is what the framework calls the page, for names that are not its own."""
    return _bound(policy, rule, f"{page.name}@{place()}" if page.late else page.name, page.label)


@cache
def _bound(policy: Policy, rule: Rule, name: str, label: str | None) -> BoundRule:
    return policy.bind(rule, name, label)
