"""Shared by the view decorators of all frameworks: the wrapper around a view, and the binding of its rule."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any
from weakref import WeakKeyDictionary

from ratelimit_kit.core.calling import is_asynchronous
from ratelimit_kit.guard.checks.decorator_order import note
from ratelimit_kit.web.policy.policy import Policy
from ratelimit_kit.web.rules.charges import BoundRule
from ratelimit_kit.web.rules.pages import Page, mark
from ratelimit_kit.web.rules.rule import Rule

Call = Callable[[Any, Any], Any]
"""Calls a view with the positional and keyword arguments that the framework passed."""


Bindings = WeakKeyDictionary[Policy, dict[Any, BoundRule]]

MAX_BINDINGS = 1024
"""Bound rules kept per owner and policy: a throttle may return any number of rates."""


def wrap_view(
    view: Any, rule: Rule, call: Call, acall: Callable[[Any, Any], Awaitable[Any]], *, asynchronous: bool | None = None
) -> Any:
    """Wrap a view so that `call` calls it, or `acall` awaits it if it is asynchronous.

    The wrapper keeps the view's name and signature.
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
    return recorded(wrapper, view, rule)


def recorded(wrapper: Any, view: Any, rule: Rule) -> Any:
    """The wrapper of a view, recorded for the start-up checks of the frameworks and for decorators above it."""
    note(view, wrapper)
    mark(wrapper, view, rule)
    return wrapper


def bound_rule(policy: Policy, rule: Rule, page: Page, place: Callable[[], str]) -> BoundRule:
    """The rule bound to its page's name; `place` returns the framework's name for a page that may share its own."""
    name = f"{page.name}@{place()}" if page.late else page.name
    return bound_once(policy, rule.bindings, (name, page.label), lambda: policy.bind(rule, name, page.label))


def bound_once(policy: Policy, bindings: Bindings, key: Any, bind: Callable[[], BoundRule]) -> BoundRule:
    """What `bind` has bound to a policy before under this key, else what it binds now.

    `bindings` must belong to what is bound: its callables may refer to an application, and so to the policy, and any
    longer-lived place would keep them all for ever.
    """
    known = bindings.get(policy)
    if known is None:
        known = bindings.setdefault(policy, {})
    bound = known.get(key)
    if bound is None:
        if len(known) >= MAX_BINDINGS:
            known.clear()
        bound = known.setdefault(key, bind())
    return bound
