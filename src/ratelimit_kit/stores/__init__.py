"""Where state lives. A store decides a list of charges, all or nothing, in one step.

This module is the contract (Charge, Scope, Store) and `open_store`, which turns a URL into a
store. The stores themselves import their client libraries late, each in its own file.
"""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

from ratelimit_kit.core.validation import nearest
from ratelimit_kit.environment import STORE, variable
from ratelimit_kit.errors import OptionError, StoreURLError
from ratelimit_kit.stores.urls import missing_scheme, redacted

if TYPE_CHECKING:
    from ratelimit_kit.core.decision import Decision, Verdict
    from ratelimit_kit.core.limits import Limit


class Scope(enum.Enum):
    """Who shares a store's counters: all that the guard has to know of it."""

    PROCESS = "process"
    HOST = "host"
    SHARED = "shared"


class Charge(NamedTuple):
    """`cost` units of `limit`, charged to `key`. A key with another limit is another counter."""

    key: str
    limit: Limit
    cost: int = 1


@runtime_checkable
class Store(Protocol):
    """What every store does; each method has an async twin on the same counters.

    A store raises StoreUnavailableError when it cannot decide, and StoreContendedError when it
    could but is too busy.
    """

    scope: Scope

    def decide(self, charges: Sequence[Charge]) -> Sequence[Verdict]:
        """Admit all charges or write nothing; one Verdict per charge, in order."""

    async def adecide(self, charges: Sequence[Charge]) -> Sequence[Verdict]:
        """Do what `decide` does."""

    def refund(self, charges: Sequence[Charge], stamp: int | None = None) -> None:
        """Give costs back: of the hits made at `stamp` (microseconds), else of the oldest."""

    async def arefund(self, charges: Sequence[Charge], stamp: int | None = None) -> None:
        """Do what `refund` does."""

    def reset(self, charges: Sequence[Charge]) -> None:
        """Forget everything about the charges' keys and limits."""

    async def areset(self, charges: Sequence[Charge]) -> None:
        """Do what `reset` does."""

    def ping(self) -> None:
        """Return when the store answers; raise StoreUnavailableError when it does not."""

    async def aping(self) -> None:
        """Do what `ping` does."""

    def close(self) -> None:
        """Let go of connections; a later call opens new ones."""

    async def aclose(self) -> None:
        """Do what `close` does."""


Lane = Callable[[Any, Any], "Decision | None"]
"""A short way for single hits: takes a key and a cost, answers None where `decide` has to be asked."""


class ShortWays(Protocol):
    """What a store in this process may offer besides: the answers of `decide`, where they come cheap, else None."""

    def quick(self, charges: Sequence[Charge]) -> Decision | None:
        """Admit charges on counters that exist."""

    def lane(self, space: str, limit: Limit) -> Lane:
        """The short way for single hits on keys of one namespace under one limit."""


def no_lane(key: Any, cost: Any) -> None:
    """Leave every hit to `decide`."""


def short_ways(store: Any) -> ShortWays | None:
    """The store, if it has short ways that may be taken, and no class of its own decides otherwise further down."""
    return store if _has_beside(store, "quick", "decide") and store.lanes else None


def asking(store: Any) -> Callable[[Sequence[Charge]], Awaitable[Sequence[Verdict] | Decision]]:
    """The store's `adecide`, or `soon` where it has that: the same with less around it."""
    way: Any = store.soon if _has_beside(store, "soon", "adecide") else store.adecide
    return way  # type: ignore[no-any-return]  # one of the two


def _has_beside(store: Any, name: str, beside: str) -> bool:
    """Whether the class that has the one method last has the other too."""
    for kind in type(store).__mro__:
        if beside in vars(kind):
            return name in vars(kind)
    return False


_REDIS = "ratelimit_kit.stores.redis.store:from_url"
_FORMS = ("", "+sentinel", "+cluster")

_STORES = {
    "memory": "ratelimit_kit.stores.memory.store:from_url",
    **{name + form: _REDIS for name in ("redis", "rediss", "valkey", "valkeys") for form in _FORMS},
    "unix": _REDIS,
    "memcached": "ratelimit_kit.stores.memcached.store:from_url",
    "django-cache": "ratelimit_kit.stores.django_cache.store:from_url",
}


def open_store(store: str | Store | None) -> Store:
    """The store that a URL names; a store is returned as it is. None is RATELIMIT_KIT_STORE, else memory.

    Raises StoreURLError for a URL that names none, DependencyError where its client is missing.
    """
    if store is None:
        store = variable(STORE) or "memory://"
    if not isinstance(store, str):
        if not isinstance(store, Store):
            raise StoreURLError(
                f"a {type(store).__name__} is neither a store nor a store URL: write for example 'redis://127.0.0.1:6379/0'"
            )
        return store
    scheme, mark, _ = store.partition("://")
    if not mark or scheme not in _STORES:
        found = scheme if mark else store.partition(":")[0]
        hint = (not mark and missing_scheme(store)) or (
            f"{nearest(found, [name + '://' for name in _STORES])} For example 'redis://127.0.0.1:6379/0'"
        )
        raise StoreURLError(f"store={redacted(store)!r} names no store: {hint}")
    module, _, function = _STORES[scheme].partition(":")
    opened: Store = getattr(import_module(module), function)(store)
    return opened


def check_charges(charges: Sequence[Charge]) -> None:
    """Refuse a list that names one counter twice, or a cost that can never be admitted."""
    for charge in charges:
        charge.limit.check_cost(charge.cost)
    if len(charges) > 1 and len({(charge.key, charge.limit.id) for charge in charges}) < len(charges):
        raise OptionError("two charges name the same key and limit: add their costs into one charge")
