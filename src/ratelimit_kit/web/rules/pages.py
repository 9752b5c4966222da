"""Decorated pages: the counter names of decorators without `name`, and the other decorators on the same view.

A counter is named after its view, whichever URLs lead to it: by the view's module and name, the methods that the
decorator is for, and a number if another view or decorator has the same name, as the views of one factory do.
"""

from __future__ import annotations

import inspect
import weakref
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

from ratelimit_kit.guard.checks import per_request_limiters
from ratelimit_kit.web.rules.rule import Rule

RULES: Final = "_ratelimit_kit_rules"
"""The attribute of a decorated view that lists the rules of its decorators, innermost first."""

LABEL: Final = "limit"
"""The name of an unnamed decorator's limits in fields, which must not reveal where the code is."""

_numbered: dict[str, list[Callable[[], Any]]] = {}
"""References to the views with each name, in the order in which they were decorated."""


class Page(NamedTuple):
    """What a decorator knows about its view: the counter's name, its label in fields, and the rules beneath it.

    `late` is true for a view that was decorated while a request was served: others may have its name, so the
    framework's name for the page has to distinguish them.
    """

    name: str
    label: str | None
    beside: Sequence[Rule]
    late: bool = False


def decorated(view: Any, rule: Rule) -> Page:
    """The page of a view that is being decorated with a rule."""
    beside: Sequence[Rule] = getattr(view, RULES, ())
    if rule.name is not None:
        return Page(rule.name, None, beside)
    name = with_methods(name_of(view), rule)
    if per_request_limiters.is_built_in_request():
        return Page(name, label(beside), beside, late=True)
    return Page(first_or_numbered(name, view), label(beside), beside)


def of_instance(page: Page, view: Any, arguments: Sequence[Any]) -> Page:
    """The page for a call of a method: if a view class has inherited it, that class counts separately."""
    owner = getattr(view, "__qualname__", "").rpartition(".")[0]
    if page.label is None or not arguments or not owner:
        return page
    kind = type(arguments[0])
    inherited = any((one.__module__, one.__qualname__) == (view.__module__, owner) for one in kind.__mro__[1:])
    return page._replace(name=f"{kind.__module__}.{kind.__qualname__}({page.name})") if inherited else page


def mark(wrapper: Any, view: Any, rule: Rule) -> None:
    """Record the rules of a view on its wrapper, and name the wrapper if the view has no name of its own."""
    setattr(wrapper, RULES, (*getattr(view, RULES, ()), rule))
    if not hasattr(view, "__name__"):
        wrapper.__name__ = wrapper.__qualname__ = name_of(view).rpartition(".")[2]


def label(beside: Sequence[Rule]) -> str:
    """The name in fields of an unnamed rule, numbered by the others beneath it: "limit", "limit-2", ..."""
    number = 1 + sum(rule.name is None for rule in beside)
    return LABEL if number == 1 else f"{LABEL}-{number}"


def numbered(name: str, rule: Rule, before: Sequence[Rule]) -> str:
    """The name of an unnamed rule's counter, with a number if others for the same methods come before it."""
    number = 1 + sum(one.name is None and one.methods == rule.methods for one in before)
    return name if number == 1 else f"{name}#{number}"


def name_of(view: Any) -> str:
    """The module and name of a view, or of the function or class behind a partial, a callable object or `as_view()`."""
    while isinstance(view, partial):
        view = view.func
    cls = getattr(view, "view_class", None) or getattr(
        view, "cls", None
    )  # Django's and Flask's, Django REST framework's
    if inspect.isclass(cls):
        named = (
            cls.__qualname__ if cls.__qualname__.endswith(cls.__name__) else cls.__name__
        )  # @api_view renames its class
        return f"{cls.__module__}.{named}"
    if not hasattr(view, "__qualname__"):
        view = type(view)
    return f"{view.__module__}.{view.__qualname__}"


def evaluated(endpoint: Callable[..., Any]) -> inspect.Signature:
    """The signature, with annotations as objects unless a name in them exists only for type checkers."""
    try:
        return inspect.signature(endpoint, eval_str=True)
    except (NameError, AttributeError, TypeError):
        return inspect.signature(endpoint)


def with_methods(name: str, rule: Rule) -> str:
    """The name of a page with the methods of a rule, because each method may have a decorator of its own."""
    return name if rule.methods is None else f"{name}.{'-'.join(sorted(rule.methods))}"


def first_or_numbered(name: str, view: Any) -> str:
    """The name, with a number for each further view with that name, in the order in which they are decorated."""
    views = _numbered.setdefault(name, [])
    found = [known() for known in views]
    at = next((at for at, known in enumerate(found) if known is view), None)
    if at is None:
        at = found.index(None) if None in found else len(found)
        views[at : at + 1] = [_reference(view)]
    return name if at == 0 else f"{name}#{at + 1}"


def _reference(view: Any) -> Callable[[], Any]:
    try:
        return weakref.ref(view)
    except TypeError:  # the object does not support weak references
        return lambda: view
