"""Detects decorators above a route: the framework has registered the bare view, so they limit nothing.

Decorated views are recorded. When the application starts serving, a recorded view that is registered without
any of its wrappers is reported.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from ratelimit_kit.errors import MisplacedDecoratorError

MARK: Final = "_ratelimit_kit_decorated"


def note(view: Callable[..., Any], wrapper: Any) -> None:
    """Record that a view was decorated; remove the record that its wrapper may have copied from it."""
    vars(wrapper).pop(MARK, None)
    with contextlib.suppress(AttributeError):
        setattr(view, MARK, True)


def misplaced(views: Iterable[Any], route: str) -> MisplacedDecoratorError | None:
    """The refusal for the first view registered without its limit; `route` is how the framework writes a route."""
    registered = list(views)
    within = {id(inner) for view in registered for inner in _within(view)}
    for view in registered:
        if MARK in getattr(view, "__dict__", {}) and id(view) not in within:
            name = getattr(view, "__qualname__", repr(view))
            return MisplacedDecoratorError(
                f"@ratelimit is above the route of {name}, so the view is served without its limit. Write {route} above "
                "@ratelimit, not below it"
            )
    return None


def _within(view: Any) -> Iterator[Any]:
    """The functions that a decorated view wraps, outermost first."""
    seen = set()
    while (view := getattr(view, "__wrapped__", None)) is not None and id(view) not in seen:
        seen.add(id(view))
        yield view
