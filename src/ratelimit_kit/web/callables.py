"""How a rule's callables are called: an asynchronous one has to be awaited, which only an asynchronous door can."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from ratelimit_kit.errors import IdentityError


def called(function: Callable[[Any], Any], subject: Any) -> Any:
    """What a callable says of a request or a response; IdentityError for a coroutine, which nobody would await."""
    value = function(subject)
    if inspect.isawaitable(value):
        if inspect.iscoroutine(value):
            value.close()
        name = getattr(function, "__qualname__", repr(function))
        raise IdentityError(f"{name} is asynchronous, and this is a synchronous front door: give a plain function")
    return value


async def acalled(function: Callable[[Any], Any], subject: Any) -> Any:
    """Do what `called` does; a callable may be a coroutine function."""
    value = function(subject)
    return await value if inspect.isawaitable(value) else value
