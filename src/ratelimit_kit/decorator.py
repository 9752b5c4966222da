"""`@ratelimit` for any function: raises LimitExceeded instead of calling it too often.

Thanks to wrapt, the decorated function keeps its name and signature, and stays sync or async, a generator or not. For
views that should respond with 429, use the decorator in the framework's own module.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Sequence
from copy import deepcopy
from functools import partial
from pickle import PicklingError
from pkgutil import resolve_name
from typing import Any, ParamSpec, TypeVar, cast

import wrapt

from ratelimit_kit.core.calling import (
    asettled,
    forwarding,
    is_asynchronous,
    is_asynchronous_generator,
    is_generator,
    settled,
)
from ratelimit_kit.core.decision import Decision
from ratelimit_kit.core.limit import Limit, Unlimited
from ratelimit_kit.core.validation import options_of, refuse_unknown
from ratelimit_kit.errors import LimitExceeded, OptionError
from ratelimit_kit.guard.checks.decorator_order import advice_for_a_view, noted
from ratelimit_kit.guard.declarations import OnUnsafe
from ratelimit_kit.limiter import Limiter
from ratelimit_kit.observe import Observer
from ratelimit_kit.outage import Fallback, OnOutage, is_local
from ratelimit_kit.stores import Store

WEB_KEYS = ("ip", "user", "global")

CallKey = str | Callable[..., str | Awaitable[str]] | None
CallCost = int | Callable[..., int | Awaitable[int]]
"""What to count by, and how much: fixed, or from the arguments of the call."""

P = ParamSpec("P")
R = TypeVar("R")


def ratelimit(
    *limits: str | Limit | Unlimited | Limiter,
    key: CallKey = None,
    cost: CallCost = 1,
    store: str | Store | None = None,
    name: str | None = None,
    on_outage: OnOutage = "raise",
    fallback: Fallback | None = None,
    workers: int | None = None,
    hosts: int | None = None,
    allow_per_process: bool = False,
    on_unsafe: OnUnsafe = "shutdown",
    observer: Observer | Sequence[Observer] | None = None,
    deny_cache: bool = True,
    inherit: bool = True,
    **unknown: Any,
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Limit how often a function is called, a coroutine function awaited, or a generator begun.

    `key` is a string, or a callable that takes the call's arguments and returns one (without it
    all calls share one counter); `cost` is a number or such a callable. For an asynchronous function both may be
    coroutine functions. A single Limiter may be given instead of limits, store, name and the options that follow, which are
    Limiter's. `name` defaults to the function's module and qualified name.

    The function raises LimitExceeded, which carries the decision, instead of running.
    """
    refuse_unknown("@ratelimit for functions", unknown, ["key", "cost", *options_of(Limiter.__init__)])
    if limits and callable(limits[0]):
        raise OptionError('@ratelimit needs limits. For example: @ratelimit("5/minute")')
    if isinstance(key, str) and (key in WEB_KEYS or key.startswith("header:")):
        raise OptionError(
            f"key={key!r} is a key for web rules; here it would be one counter for all callers. For a view use the "
            "decorator of its framework (from ratelimit_kit.django import ratelimit), else a callable of the arguments"
        )
    if not callable(key) and not isinstance(key, str | None):
        raise OptionError(
            f"key must be a string, or a callable that returns one from the call's arguments, got {key!r}"
        )

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        what = f"{function.__module__}.{_qualname(function)}"
        limiter = _limiter(
            limits,
            store=store,
            name=name or what,
            on_outage=on_outage,
            fallback=fallback,
            workers=workers,
            hosts=hosts,
            allow_per_process=allow_per_process,
            on_unsafe=on_unsafe,
            observer=observer,
            deny_cache=deny_cache,
            inherit=inherit,
        )
        return cast("Callable[P, R]", _Limited(function, _Charge(limiter, what, key, cost).wrapper(function)))

    return decorate


class _Charge:
    """Charges a call before it runs; a generator runs when it is asked for its first value."""

    def __init__(self, limiter: Limiter, what: str, key: CallKey, cost: CallCost) -> None:
        self.limiter = limiter
        self.what = what
        self.key = key
        self.cost = cost

    def wrapper(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """What is called in place of the function, and is of its kind."""
        if is_asynchronous_generator(function):
            return self.streamed
        if is_generator(function):
            return self.iterated
        return self.awaited if is_asynchronous(function) else self.called

    def called(self, wrapped: Callable[..., Any], instance: object, args: Any, kwargs: Any) -> Any:
        self._admit(instance, args, kwargs)
        return wrapped(*args, **kwargs)

    async def awaited(self, wrapped: Callable[..., Awaitable[Any]], instance: object, args: Any, kwargs: Any) -> Any:
        await self._aadmit(instance, args, kwargs)
        return await wrapped(*args, **kwargs)

    def iterated(
        self, wrapped: Callable[..., Generator[Any, Any, Any]], instance: object, args: Any, kwargs: Any
    ) -> Generator[Any, Any, Any]:
        self._admit(instance, args, kwargs)
        return (yield from wrapped(*args, **kwargs))

    def streamed(
        self, wrapped: Callable[..., AsyncGenerator[Any, Any]], instance: object, args: Any, kwargs: Any
    ) -> AsyncGenerator[Any, Any]:
        return forwarding(wrapped, partial(self._aadmit, instance))(*args, **kwargs)

    def _admit(self, instance: object, args: Any, kwargs: Any) -> None:
        self._check(self.limiter.hit(*self._of(instance, args, kwargs)))

    async def _aadmit(self, instance: object, args: Any, kwargs: Any) -> None:
        self._check(await self.limiter.ahit(*await self._aof(instance, args, kwargs)))

    def _of(self, instance: object, args: Any, kwargs: Any) -> tuple[str, int]:
        if instance is not None:
            args = (instance, *args)
        key = settled(self.key(*args, **kwargs)) if callable(self.key) else self.key or ""
        cost = settled(self.cost(*args, **kwargs)) if callable(self.cost) else self.cost
        return self._text(key), cost

    async def _aof(self, instance: object, args: Any, kwargs: Any) -> tuple[str, int]:
        if instance is not None:
            args = (instance, *args)
        key = await asettled(self.key(*args, **kwargs)) if callable(self.key) else self.key or ""
        cost = await asettled(self.cost(*args, **kwargs)) if callable(self.cost) else self.cost
        return self._text(key), cost

    def _text(self, key: Any) -> str:
        if not isinstance(key, str):
            raise OptionError(f"the key of {self.what} must be a string, got {key!r}. For example: f'user:{{user.id}}'")
        return key

    def _check(self, decision: Decision) -> None:
        if not decision.allowed:
            uncounted = decision.degraded and not is_local(decision)
            raise noted(LimitExceeded(decision, self.what, uncounted, advice_for_a_view()))


class _Bound(wrapt.BoundFunctionWrapper):  # type: ignore[type-arg]  # those of wrapt before 2 take none
    """A decorated method on its object or class; it is pickled and copied as a method without decorator is."""

    def __reduce_ex__(self, protocol: Any) -> str | tuple[Any, ...]:
        owner = getattr(self.__wrapped__, "__self__", None)
        return _by_name(self) if owner is None else (getattr, (owner, self.__name__))

    def __copy__(self) -> _Bound:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        owner = getattr(self.__wrapped__, "__self__", None)
        return self if owner is None else getattr(deepcopy(owner, memo), self.__name__)


class _Limited(wrapt.FunctionWrapper):  # type: ignore[type-arg]  # likewise
    """A decorated function; it is pickled by its name and copied by reference, as a function without decorator is."""

    __bound_function_wrapper__ = _Bound

    def __reduce_ex__(self, protocol: Any) -> str | tuple[Any, ...]:
        return _by_name(self)

    def __copy__(self) -> _Limited:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> _Limited:
        return self


def _by_name(function: Any) -> tuple[Any, ...]:
    """How pickle finds a decorated function where it is unpickled: with the limit that it has there."""
    name = f"{function.__module__}:{_qualname(function)}"
    try:
        found = resolve_name(name)
    except (ImportError, AttributeError, ValueError):
        found = None
    if getattr(found, "__wrapped__", None) is not function.__wrapped__:
        raise PicklingError(
            f"{name} cannot be pickled: there is another thing of that name, or it is inside a function"
        )
    return resolve_name, (name,)


def _limiter(limits: tuple[str | Limit | Unlimited | Limiter, ...], **options: Any) -> Limiter:
    ready = [limit for limit in limits if isinstance(limit, Limiter)]
    if not ready:
        return Limiter(*cast("tuple[str | Limit, ...]", limits), **options)
    if len(limits) > 1:
        raise OptionError("@ratelimit takes limits or one Limiter, not both: a Limiter already has its limits")
    return ready[0]


def _qualname(function: Callable[..., Any]) -> str:
    return getattr(function, "__qualname__", type(function).__qualname__)
