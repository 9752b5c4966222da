"""Stores keep the counters. A store decides a list of charges, all or nothing, in one step.

This module holds the contract and `open_store`. Each store has a folder, and imports its client library when it is used.
"""

from __future__ import annotations

import enum
import inspect
import time
from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from typing import Any, Protocol, runtime_checkable

from ratelimit_kit.core.decision import Decision, Verdict
from ratelimit_kit.core.events import Listener, unheard
from ratelimit_kit.core.limit import Limit
from ratelimit_kit.core.validation import nearest
from ratelimit_kit.environment import STORE, variable
from ratelimit_kit.errors import ConfigurationError, OptionError, StartupRefused, StartupWarning, StoreURLError
from ratelimit_kit.stores.charges import Charge as Charge
from ratelimit_kit.stores.charges import check_charges as check_charges
from ratelimit_kit.stores.charges import check_refunds as check_refunds
from ratelimit_kit.stores.urls import missing_scheme, redacted
from ratelimit_kit.waiting import in_thread


class Scope(enum.Enum):
    """Who shares a store's counters: all that the guard needs to know about it."""

    PROCESS = "process"
    HOST = "host"
    SHARED = "shared"


Verdicts = Sequence[Verdict] | Decision
"""The result of `decide`: one Verdict per charge, in order, or a Decision that holds them."""


@runtime_checkable
class Store(Protocol):
    """The methods of every store; each has an async twin on the same counters.

    A store raises StoreUnavailableError when it cannot decide anything, StoreContendedError when it is only too busy,
    StoreFullError when it has no room, and StoreError when it has trouble with these charges. Everything optional is in
    BaseStore.
    """

    scope: Scope

    def decide(self, charges: Sequence[Charge]) -> Verdicts:
        """Admit all charges or write nothing."""

    async def adecide(self, charges: Sequence[Charge]) -> Verdicts:
        """Do what `decide` does."""

    def refund(self, charges: Sequence[Charge], charged_at: int | None = None) -> None:
        """Refund the costs of the hits made at `charged_at` (microseconds), or of the oldest if it is None."""

    async def arefund(self, charges: Sequence[Charge], charged_at: int | None = None) -> None:
        """Do what `refund` does."""

    def reset(self, charges: Sequence[Charge]) -> None:
        """Forget everything about the charges' keys and limits."""

    async def areset(self, charges: Sequence[Charge]) -> None:
        """Do what `reset` does."""

    def ping(self) -> None:
        """Return if the store responds; raise StoreUnavailableError if it does not."""

    async def aping(self) -> None:
        """Do what `ping` does."""

    def close(self) -> None:
        """Close the connections; a later call opens new ones."""

    async def aclose(self) -> None:
        """Do what `close` does."""


FastPath = Callable[[Any, Any], Decision | None]
"""Decides a single hit on a key (without its namespace) at a cost; None if only `decide` can tell."""


class BaseStore:
    """A base class for stores: implement `decide`, `refund`, `reset`, `ping` and `close`; the rest has defaults.

    The async methods call the sync ones: directly, or in a thread (`in_thread`) where `blocking` is true.
    """

    scope: Scope
    """Who shares the counters: a store must say so, because the guard trusts it."""

    blocking = False
    """Whether the sync methods wait for a network or a disk, and must not run on an event loop."""

    denials_cacheable = False
    """Whether a denial holds until its wait is over, except after a refund or reset, and so may be cached."""

    clustered = False
    """Whether the counters of one request may be on several nodes, which decide one after the other."""

    max_numbers: int | None = None
    """How many integers of a state (`Limit.max_numbers`) one entry has room for; None for any number."""

    remedy = ""
    """The advice where several workers would each count separately; empty for the usual advice."""

    flaw: StartupRefused | None = None
    """Why no limit can count here, if that is known without asking a server."""

    async_flaw: ConfigurationError | None = None
    """Why the async API cannot count here, if that is known without asking a server."""

    any_loop = False
    """Whether the async API works on any event loop, one after the other, as the check at start uses it on its own."""

    on_event: Listener = staticmethod(unheard)
    """The listener for events; set by whoever uses the store."""

    def __init_subclass__(cls, **options: Any) -> None:
        """Drop an inherited fast path that would bypass this class's `decide`, which is nearer in the MRO."""
        super().__init_subclass__(**options)
        order = [vars(one) for one in cls.__mro__]
        decides = next(at for at, names in enumerate(order) if {"decide", "adecide"} & names.keys())
        for name in ("fast_decide", "fast_path"):
            if decides < next(at for at, names in enumerate(order) if name in names):
                setattr(cls, name, vars(BaseStore)[name])

    @property
    def title(self) -> str:
        """The name of this store in messages."""
        return type(self).__name__

    @property
    def elapsed_clock(self) -> Callable[[], int]:
        """The clock (nanoseconds) that tells how old a decision is when it is shown; a test's, if the store has one."""
        return time.monotonic_ns

    def decide(self, charges: Sequence[Charge]) -> Verdicts:
        """Admit all charges or write nothing."""
        raise NotImplementedError

    def refund(self, charges: Sequence[Charge], charged_at: int | None = None) -> None:
        """Refund the costs of the hits made at `charged_at` (microseconds), or of the oldest if it is None."""
        raise NotImplementedError

    def reset(self, charges: Sequence[Charge]) -> None:
        """Forget everything about the charges' keys and limits."""
        raise NotImplementedError

    def ping(self) -> None:
        """Return if the store responds; raise StoreUnavailableError if it does not."""

    def close(self) -> None:
        """Close the connections; a later call opens new ones."""

    def census(self, name: str, entry: str, seconds: float) -> Sequence[str] | None:
        """Write an entry (unless empty) for some seconds (0: remove it); all that last, or None if there is no census."""

    async def adecide(self, charges: Sequence[Charge]) -> Verdicts:
        """Do what `decide` does."""
        return await self.in_thread(self.decide, charges) if self.blocking else self.decide(charges)

    async def arefund(self, charges: Sequence[Charge], charged_at: int | None = None) -> None:
        """Do what `refund` does."""
        if self.blocking:
            await self.in_thread(self.refund, charges, charged_at)
        else:
            self.refund(charges, charged_at)

    async def areset(self, charges: Sequence[Charge]) -> None:
        """Do what `reset` does."""
        if self.blocking:
            await self.in_thread(self.reset, charges)
        else:
            self.reset(charges)

    async def aping(self) -> None:
        """Do what `ping` does."""
        if self.blocking:
            await self.in_thread(self.ping)
        else:
            self.ping()

    async def aclose(self) -> None:
        """Do what `close` does; a store with connections per event loop overrides this to close those."""
        self.close()

    async def in_thread(self, work: Callable[..., Any], *arguments: Any) -> Any:
        """Run blocking work off the event loop."""
        return await in_thread(work, *arguments)

    def fast_decide(self) -> Callable[[Sequence[Charge]], Decision | None] | None:
        """A function that decides like `decide` when it can do so quickly, else returns None; None if there is none."""
        return None

    def fast_path(self, namespace: str, limit: Limit) -> FastPath | None:  # noqa: ARG002 - for stores that override it
        """A function that decides single hits on keys of one namespace under one limit; None if there is none."""
        return None

    def clear(self) -> None:
        """Forget everything, for tests; raises TypeError if the store cannot."""
        raise TypeError(f"{self!r} cannot be cleared: give the tests a store of their own, such as memory://")

    def examine(self) -> Iterable[StartupRefused | StartupWarning]:
        """Problems of the store or its server at startup; raises StoreUnavailableError if it does not respond."""
        return ()

    def facts(self) -> dict[str, Any]:
        """Facts about the server, for `doctor`; raises StoreUnavailableError if it does not respond."""
        return {}


class _PlainStore(BaseStore):
    """Adds the defaults of BaseStore to a store that only has the methods of Store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.scope = store.scope
        self.decide, self.adecide = store.decide, store.adecide  # type: ignore[method-assign]
        self.refund, self.arefund = store.refund, store.arefund  # type: ignore[method-assign]
        self.reset, self.areset = store.reset, store.areset  # type: ignore[method-assign]
        self.ping, self.aping = store.ping, store.aping  # type: ignore[method-assign]
        self.close, self.aclose = store.close, store.aclose  # type: ignore[method-assign]

    def __repr__(self) -> str:
        return repr(self._store)

    @property
    def title(self) -> str:
        """The name of this store in messages."""
        return type(self._store).__name__


def with_defaults(store: Store) -> BaseStore:
    """The store itself if it derives from BaseStore, else wrapped with the defaults of BaseStore."""
    return store if isinstance(store, BaseStore) else _PlainStore(store)


_REDIS = "ratelimit_kit.stores.redis.store:from_url"
_FORMS = ("", "+sentinel", "+cluster")
_STORES = {
    "memory": "ratelimit_kit.stores.memory.store:from_url",
    "host": "ratelimit_kit.stores.host.store:from_url",
    **{name + form: _REDIS for name in ("redis", "rediss", "valkey", "valkeys") for form in _FORMS},
    "unix": _REDIS,
    "memcached": "ratelimit_kit.stores.memcached.store:from_url",
    "django-cache": "ratelimit_kit.stores.django_cache.store:from_url",
}


def open_store(store: str | Store | None) -> Store:
    """The store that a URL names; a store is returned unchanged. None means RATELIMIT_KIT_STORE, else memory.

    Raises StoreURLError if the URL names no store, DependencyError if the client library is missing.
    """
    if store is None:
        store = variable(STORE) or "memory://"
    if not isinstance(store, str):
        return _checked(store)
    scheme, mark, _ = store.partition("://")
    if not mark or scheme not in _STORES:
        found = scheme if mark else store.partition(":")[0]
        close = nearest(found, [name + "://" for name in _STORES])
        hint = (not mark and missing_scheme(store)) or f"{close} (for example 'redis://127.0.0.1:6379/0')"
        raise StoreURLError(f"store={redacted(store)!r} is not a store URL: {hint}")
    module, _, function = _STORES[scheme].partition(":")
    opened: Store = getattr(import_module(module), function)(store)
    return opened


_METHODS = ("decide", "refund", "reset", "ping", "close")
"""The methods of a store, each with an async twin: since Python 3.12 a Protocol's isinstance sees none of a proxy's."""


def _checked(store: Store) -> Store:
    """A store of the user's own, if it has what the contract asks for; else an error that says what is missing."""
    if isinstance(store, type):
        raise StoreURLError(f"store={store.__name__} is a class, not a store: write store={store.__name__}(...)")
    kind = type(store).__name__
    if isinstance(store, BaseStore) and not hasattr(store, "scope"):
        raise OptionError(
            f"{kind} does not say who shares its counters: write scope = Scope.PROCESS where each process has its own, "
            "Scope.HOST, or Scope.SHARED"
        )
    if not all(hasattr(store, name) for name in ("scope", *_METHODS, *(f"a{name}" for name in _METHODS))):
        raise StoreURLError(
            f"an object of type {kind} is not a store or a store URL. For example: 'redis://127.0.0.1:6379/0'"
        )
    if not isinstance(store.scope, Scope):
        raise OptionError(f"{kind}.scope must be a Scope, got {store.scope!r}. For example: scope = Scope.PROCESS")
    for name in _METHODS:
        method = getattr(type(store), name, None)
        if method is vars(BaseStore)[name] and name in {"decide", "refund", "reset"}:
            raise OptionError(f"{kind} has no method {name}: every store needs decide, refund and reset")
        if inspect.iscoroutinefunction(method):
            raise OptionError(f"{kind}.{name} is a coroutine function: call it a{name}, and write a sync {name} too")
    return store
