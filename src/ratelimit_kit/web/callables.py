"""Calls a rule's callables; async ones must be awaited, which only an async integration can do."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

from ratelimit_kit.errors import IdentityError, OptionError

Function = TypeVar("Function", bound=Callable[..., Any])


def check_callable(option: str, function: Function, subject: str) -> Function:
    """The callable itself, if it can be called with one argument, the `subject`; else OptionError."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # of some that are written in C
        return function
    try:
        signature.bind(subject)
    except TypeError:
        name = getattr(function, "__qualname__", repr(function))
        raise OptionError(
            f"{option}={name} is called with one argument, the {subject}, but its parameters are {signature}. "
            f"For example: {option}=lambda {subject}: ..."
        ) from None
    return function


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
