"""Calls a rule's callables; async ones must be awaited, which only an async integration can do."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from ratelimit_kit.errors import IdentityError


def called(function: Callable[[Any], Any], subject: Any) -> Any:
    """The function's value for a request or response; IdentityError if it is awaitable, as nobody would await it."""
    value = function(subject)
    if inspect.isawaitable(value):
        if inspect.iscoroutine(value):
            value.close()
        name = getattr(function, "__qualname__", repr(function))
        raise IdentityError(f"{name} is asynchronous, but this integration is synchronous: use a plain function")
    return value


async def acalled(function: Callable[[Any], Any], subject: Any) -> Any:
    """Do what `called` does; the function may be a coroutine function."""
    value = function(subject)
    return await value if inspect.isawaitable(value) else value
