"""Rate limiting for Python web applications that means what it says.

Limits (SlidingWindow, TokenBucket, FixedWindow, or text such as "100/minute") count on a store
(memory, one host, Redis, Memcached) through a Limiter, the `ratelimit` decorator, or a web Policy behind the
middlewares of `ratelimit_kit.wsgi`, `ratelimit_kit.asgi` and `ratelimit_kit.django`.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from ratelimit_kit.core.decision import Decision, Verdict
from ratelimit_kit.core.fixed_window import FixedWindow
from ratelimit_kit.core.grammar import parse
from ratelimit_kit.core.limit import UNLIMITED
from ratelimit_kit.core.sliding_window import SlidingWindow
from ratelimit_kit.core.token_bucket import TokenBucket
from ratelimit_kit.decorator import ratelimit
from ratelimit_kit.errors import (
    ConfigurationError,
    CostError,
    LimitExceeded,
    QuotaError,
    RateLimitKitError,
    StoreError,
)
from ratelimit_kit.limiter import Limiter
from ratelimit_kit.stores import BaseStore, Charge, Scope, Store
from ratelimit_kit.stores.memory.store import MemoryStore

if TYPE_CHECKING:
    from ratelimit_kit.stores.host.store import HostStore
    from ratelimit_kit.stores.memcached.store import MemcachedStore
    from ratelimit_kit.stores.redis.store import RedisStore
    from ratelimit_kit.web.policy.policy import Policy
    from ratelimit_kit.web.response.denial import Denial, Reply
    from ratelimit_kit.web.rules.rule import Rule

__version__ = "0.1.0.dev0"

__all__ = [
    "UNLIMITED",
    "BaseStore",
    "Charge",
    "ConfigurationError",
    "CostError",
    "Decision",
    "Denial",
    "FixedWindow",
    "HostStore",
    "LimitExceeded",
    "Limiter",
    "MemcachedStore",
    "MemoryStore",
    "Policy",
    "QuotaError",
    "RateLimitKitError",
    "RedisStore",
    "Reply",
    "Rule",
    "Scope",
    "SlidingWindow",
    "Store",
    "StoreError",
    "TokenBucket",
    "Verdict",
    "parse",
    "ratelimit",
]

_LATE = {
    "HostStore": "ratelimit_kit.stores.host.store",
    "MemcachedStore": "ratelimit_kit.stores.memcached.store",
    "RedisStore": "ratelimit_kit.stores.redis.store",
    "Denial": "ratelimit_kit.web.response.denial",
    "Policy": "ratelimit_kit.web.policy.policy",
    "Reply": "ratelimit_kit.web.response.denial",
    "Rule": "ratelimit_kit.web.rules.rule",
}
"""Names that are imported on first use: they need a client library, or only web applications need them."""

_CLIENTS = {"MemcachedStore": "pymemcache", "RedisStore": "redis"}

if not TYPE_CHECKING:  # what cannot be imported here is left out of `import *` and `help`, which would fail
    __all__ = [name for name in __all__ if name not in _CLIENTS or find_spec(_CLIENTS[name])]


def __getattr__(name: str) -> Any:
    if name not in _LATE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LATE[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
