"""Shared by the view decorators of all frameworks: the wrapper around a view, and the binding of its rule."""

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
"""Calls a view with the positional and keyword arguments that the framework passed."""


def wrap_view(
    view: Any, rule: Rule, call: Call, acall: Callable[[Any, Any], Awaitable[Any]], *, asynchronous: bool | None = None
) -> Any:
    """Wrap a view so that `call` calls it, or `acall` awaits it if it is asynchronous.

    The wrapper keeps the view's name and signature, and is recorded for the start-up checks of the frameworks.
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
    """The rule bound to its page's name; `place` returns the framework's name for a page that may share its own."""
    return _bound(policy, rule, f"{page.name}@{place()}" if page.late else page.name, page.label)


@cache
def _bound(policy: Policy, rule: Rule, name: str, label: str | None) -> BoundRule:
    return policy.bind(rule, name, label)
