"""What kind of function a callable is, and how values and generators of the asynchronous kinds are passed on."""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

from ratelimit_kit.errors import OptionError


def is_asynchronous(function: Any) -> bool:
    """Whether this is a coroutine function, a partial of one, or an object whose `__call__` is one."""
    return _is(inspect.iscoroutinefunction, function)


def is_generator(function: Any) -> bool:
    """Whether this is a generator function, a partial of one, or an object whose `__call__` is one."""
    return _is(inspect.isgeneratorfunction, function)


def is_asynchronous_generator(function: Any) -> bool:
    """Whether this is an asynchronous generator function, a partial of one, or an object whose `__call__` is one."""
    return _is(inspect.isasyncgenfunction, function)


def _is(kind: Callable[[Any], bool], function: Any) -> bool:
    while isinstance(function, staticmethod | classmethod | functools.partial):
        function = function.func if isinstance(function, functools.partial) else function.__func__
    return kind(function) or (not inspect.isroutine(function) and kind(getattr(type(function), "__call__", None)))  # noqa: B004 - its kind matters


def settled(value: Any) -> Any:
    """The value that a callable has returned; OptionError for an awaitable one, which nobody would await."""
    if inspect.isawaitable(value):
        if inspect.iscoroutine(value):
            value.close()
        raise OptionError(
            f"a callable returned {value!r}, but the function that it is for is not asynchronous: use a plain function"
        )
    return value


async def asettled(value: Any) -> Any:
    """Do what `settled` does, but await an awaitable value."""
    return await value if inspect.isawaitable(value) else value


def forwarding(
    function: Callable[..., AsyncGenerator[Any, Any]], first: Callable[[Any, Any], Awaitable[None]]
) -> Callable[..., AsyncGenerator[Any, Any]]:
    """An asynchronous generator function that awaits `first(args, kwargs)`, and then is what the other one is.

    As with `yield from`, values and exceptions go both ways: a dependency of FastAPI, for example, hears of the exception
    of its endpoint at its `yield`.
    """

    async def forward(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        await first(args, kwargs)
        generator = function(*args, **kwargs)
        try:
            item = await anext(generator)
            while True:
                try:
                    sent = yield item
                except GeneratorExit:
                    await generator.aclose()
                    raise
                except BaseException as error:  # noqa: BLE001 - whatever it is, it is the generator's
                    item = await generator.athrow(error)
                else:
                    item = await generator.asend(sent)
        except StopAsyncIteration:
            return

    return forward


def with_keyword(signature: inspect.Signature, parameter: inspect.Parameter) -> inspect.Signature:
    """The signature with a keyword-only parameter more, the first of them: FastAPI asks dependencies in their order."""
    late = {inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.VAR_KEYWORD}
    before = [one for one in signature.parameters.values() if one.kind not in late]
    after = [one for one in signature.parameters.values() if one.kind in late]
    return signature.replace(parameters=[*before, parameter, *after])
