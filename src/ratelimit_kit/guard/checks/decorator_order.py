"""Detects decorators of views that are in the wrong place, or are those of functions.

Above a route they limit nothing, because the framework has registered the bare view. Decorated views are recorded. When
the application starts serving, a recorded view that is registered without any of its wrappers is reported. The decorator
of functions, on a view, makes the framework respond with 500: its refusals are noted for a middleware.
"""

from __future__ import annotations

import contextlib
import sys
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from types import FrameType
from typing import Any, Final

from ratelimit_kit.errors import LimitExceeded, MisplacedDecoratorError

_FLASK, _DJANGO, _FASTAPI = (f"from ratelimit_kit.{name} import ratelimit" for name in ("flask", "django", "fastapi"))
_ASGI, _WSGI = (f"from ratelimit_kit.{name} import RateLimitMiddleware" for name in ("asgi", "wsgi"))

_IMPORTS: Final = {
    "flask": _FLASK,
    "django": _DJANGO,
    "rest_framework": _DJANGO,
    "asgiref": _DJANGO,
    "fastapi": _FASTAPI,
    "starlette": _FASTAPI,
    "anyio": _FASTAPI,
    "litestar": _ASGI,
    "quart": _ASGI,
    "bottle": _WSGI,
    "falcon": _WSGI,
    "pyramid": _WSGI,
}
"""What limits the views that a package calls; asgiref and anyio do it for others, from threads of their own."""

REFUSALS: ContextVar[list[weakref.ref[LimitExceeded]] | None] = ContextVar("ratelimit_kit_refusals", default=None)
"""The last refusal of a function during the request that is being served, for a middleware; frameworks make a 500 of it.

An exception that the application has handled is gone by the time of the response, and a 500 is then one of its own.
"""

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


def noted(error: LimitExceeded) -> LimitExceeded:
    """The refusal of a function, noted for the request during which it was called."""
    refusals = REFUSALS.get()
    if refusals is not None:
        refusals[:] = [weakref.ref(error)]  # a background task that a request has begun may be refused for ever
    return error


def refusal_in(raised: LimitExceeded | ExceptionGroup[Any]) -> LimitExceeded | None:
    """The refusal that was raised, also by tasks of a group if they raised nothing else."""
    while isinstance(raised, ExceptionGroup):
        if raised.split(LimitExceeded)[1] is not None:
            return None
        raised = raised.exceptions[0]
    return raised


def advice_for_a_view() -> str:
    """The end of a sentence for a caller that takes a function under the decorator of functions for a view; else empty."""
    frame: FrameType | None = sys._getframe()  # noqa: SLF001 - the documented way to the call stack
    package = ""
    while frame is not None and package in {"", "ratelimit_kit", "wrapt"}:
        package = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        frame = frame.f_back
    if package == "asgiref" and "flask" in sys.modules and sys.modules["flask"].has_request_context():
        package = "flask"
    if package not in _IMPORTS or (package == "anyio" and "starlette" not in sys.modules):
        return ""
    return f". For a view, which should answer 429, write: {_IMPORTS[package]}"


def _within(view: Any) -> Iterator[Any]:
    """The functions that a decorated view wraps, outermost first."""
    seen = set()
    while (view := getattr(view, "__wrapped__", None)) is not None and id(view) not in seen:
        seen.add(id(view))
        yield view
