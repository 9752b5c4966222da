"""`@ratelimit` for any function: raises LimitExceeded instead of calling it too often.

Thanks to wrapt, the decorated function keeps its name and signature, and stays sync or async. For views
that should respond with 429, use the decorator in the framework's own module.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, ParamSpec, TypeVar, cast

import wrapt

from ratelimit_kit.core.calling import is_asynchronous
from ratelimit_kit.core.decision import Decision
from ratelimit_kit.core.limit import Limit, Unlimited
from ratelimit_kit.core.validation import options_of, refuse_unknown
from ratelimit_kit.errors import LimitExceeded, OptionError
from ratelimit_kit.guard.process_guard import OnUnsafe
from ratelimit_kit.limiter import Limiter
from ratelimit_kit.observe import Observer
from ratelimit_kit.outage import Fallback, OnOutage, is_local
from ratelimit_kit.stores import Store

WEB_KEYS = ("ip", "user", "global")

P = ParamSpec("P")
R = TypeVar("R")


def ratelimit(
    *limits: str | Limit | Unlimited | Limiter,
    key: str | Callable[..., str] | None = None,
    cost: int | Callable[..., int] = 1,
    store: str | Store | None = None,
    name: str | None = None,
    on_outage: OnOutage = "raise",
    fallback: Fallback | None = None,
    workers: int | None = None,
    allow_per_process: bool = False,
    on_unsafe: OnUnsafe = "shutdown",
    observer: Observer | Sequence[Observer] | None = None,
    deny_cache: bool = True,
    inherit: bool = True,
    **unknown: Any,
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Limit how often a function is called, or a coroutine function awaited.

    `key` is a string, or a callable that takes the call's arguments and returns one (without it
    all calls share one counter); `cost` is a number or such a callable. A single Limiter may be given instead
    of limits, store, name and the options that follow, which are Limiter's. `name` defaults to the
    function's module and qualified name.

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
        if inspect.isasyncgenfunction(function):
            raise OptionError(
                f"{function.__qualname__} is an asynchronous generator: decorate the coroutine function that iterates it"
            )
        what = f"{function.__module__}.{_qualname(function)}"
        limiter = _limiter(
            limits,
            store=store,
            name=name or what,
            on_outage=on_outage,
            fallback=fallback,
            workers=workers,
            allow_per_process=allow_per_process,
            on_unsafe=on_unsafe,
            observer=observer,
            deny_cache=deny_cache,
            inherit=inherit,
        )
        charge = _Charge(limiter, what, key, cost)
        wrapper = charge.awaited if is_asynchronous(function) else charge.called
        return cast("Callable[P, R]", wrapt.FunctionWrapper(function, wrapper))

    return decorate


class _Charge:
    """Charges a call before it runs."""

    def __init__(
        self, limiter: Limiter, what: str, key: str | Callable[..., str] | None, cost: int | Callable[..., int]
    ) -> None:
        self.limiter = limiter
        self.what = what
        self.key = key
        self.cost = cost

    def called(self, wrapped: Callable[..., Any], instance: object, args: Any, kwargs: Any) -> Any:
        self._check(self.limiter.hit(*self._of(instance, args, kwargs)))
        return wrapped(*args, **kwargs)

    async def awaited(self, wrapped: Callable[..., Awaitable[Any]], instance: object, args: Any, kwargs: Any) -> Any:
        self._check(await self.limiter.ahit(*self._of(instance, args, kwargs)))
        return await wrapped(*args, **kwargs)

    def _of(self, instance: object, args: Any, kwargs: Any) -> tuple[str, int]:
        if instance is not None:
            args = (instance, *args)
        key = self.key(*args, **kwargs) if callable(self.key) else self.key or ""
        cost = self.cost(*args, **kwargs) if callable(self.cost) else self.cost
        if not isinstance(key, str):
            raise OptionError(f"the key of {self.what} must be a string, got {key!r}. For example: f'user:{{user.id}}'")
        return key, cost

    def _check(self, decision: Decision) -> None:
        if not decision.allowed:
            raise LimitExceeded(decision, self.what, decision.degraded and not is_local(decision))


def _limiter(limits: tuple[str | Limit | Unlimited | Limiter, ...], **options: Any) -> Limiter:
    ready = [limit for limit in limits if isinstance(limit, Limiter)]
    if not ready:
        return Limiter(*cast("tuple[str | Limit, ...]", limits), **options)
    if len(limits) > 1:
        raise OptionError("@ratelimit takes limits or one Limiter, not both: a Limiter already has its limits")
    return ready[0]


def _qualname(function: Callable[..., Any]) -> str:
    return getattr(function, "__qualname__", type(function).__qualname__)
