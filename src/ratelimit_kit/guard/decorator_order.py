"""Decorators above a route: the framework has registered the bare view beneath them, and they limit nothing.

A view that was decorated is noted; when the application serves, one that is registered as it was
before, with none of its wrappers beside it, is found.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from ratelimit_kit.errors import MisplacedDecoratorError

MARK: Final = "_ratelimit_kit_decorated"


def note(view: Callable[..., Any], wrapper: Any) -> None:
    """Note that a view was decorated. Its wrapper may have taken the note over, where the view was decorated before."""
    vars(wrapper).pop(MARK, None)
    with contextlib.suppress(AttributeError):
        setattr(view, MARK, True)


def misplaced(views: Iterable[Any], route: str) -> MisplacedDecoratorError | None:
    """The refusal for the first registered view whose limit was left out; `route` is a route as it is written there."""
    registered = list(views)
    within = {id(inner) for view in registered for inner in _within(view)}
    for view in registered:
        if MARK in getattr(view, "__dict__", {}) and id(view) not in within:
            name = getattr(view, "__qualname__", repr(view))
            return MisplacedDecoratorError(
                f"@ratelimit stands above the route of {name}, so the view is served without its limit. Write {route} above "
                "@ratelimit, not beneath it"
            )
    return None


def _within(view: Any) -> Iterator[Any]:
    """What a decorated view has inside."""
    seen = set()
    while (view := getattr(view, "__wrapped__", None)) is not None and id(view) not in seen:
        seen.add(id(view))
        yield view
