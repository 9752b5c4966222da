"""Calls a rule's callables; async ones must be awaited, which only an async integration can do."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple, TypeVar

from ratelimit_kit.core.calling import is_asynchronous
from ratelimit_kit.errors import IdentityError, OptionError

Function = TypeVar("Function", bound=Callable[..., Any])


class Bridge(NamedTuple):
    """How a framework that serves both sync and async lets either use callables of the other kind.

    `apart` runs a plain callable where it may block, and `awaited` is what sync code gets from an awaitable.
    """

    apart: Callable[[Callable[[Any], Any], Any], Awaitable[Any]]
    awaited: Callable[[Awaitable[Any]], Any]


class AtOnce:
    """Base of callables of this library's own, which never wait for anything, and so need no bridge."""

    __slots__ = ()


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
    """The function's value for a request, response or denial, which may have a `bridge` for awaitable ones.

    Raises IdentityError for an awaitable value without a bridge, as nobody would await it.
    """
    value = function(subject)
    if inspect.isawaitable(value):
        if subject.bridge is not None:
            return subject.bridge.awaited(value)
        if inspect.iscoroutine(value):
            value.close()
        name = getattr(function, "__qualname__", repr(function))
        raise IdentityError(f"{name} is asynchronous, but this integration is synchronous: use a plain function")
    return value


async def acalled(function: Callable[[Any], Any], subject: Any) -> Any:
    """Do what `called` does; the function may be a coroutine function. Plain ones go over the bridge, if there is one."""
    if subject.bridge is None or isinstance(function, AtOnce) or is_asynchronous(function):
        value = function(subject)
    else:
        value = await subject.bridge.apart(function, subject)
    return await value if inspect.isawaitable(value) else value
