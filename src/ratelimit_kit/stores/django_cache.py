"""`django-cache://alias`: counts where one of a Django project's caches keeps its data.

The cache's own location and options are read once, and a client of ours is opened there: Django's
cache interface has no atomic step that a limit could trust. Caches that cannot count are refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from ratelimit_kit.core.options import nearest
from ratelimit_kit.errors import DependencyError, StoreURLError, UnsafeCacheError
from ratelimit_kit.stores import Scope, Store

try:
    from django.conf import settings
except ImportError as error:
    raise DependencyError(
        "django-cache:// needs Django, which is not installed: pip install 'ratelimit-kit[django]'"
    ) from error

_REDIS = frozenset({"django.core.cache.backends.redis.RedisCache", "django_redis.cache.RedisCache"})

_PER_PROCESS = frozenset(
    {"django.core.cache.backends.locmem.LocMemCache", "django.core.cache.backends.dummy.DummyCache"}
)

_PASTE = """CACHES["ratelimit"] = {
    "BACKEND": "django.core.cache.backends.redis.RedisCache",
    "LOCATION": "redis://127.0.0.1:6379/0",
}
RATELIMIT_KIT = {"store": "django-cache://ratelimit", ...}"""


def from_url(url: str) -> Store:
    """The store behind the cache that `django-cache://alias` names."""
    from ratelimit_kit.stores.redis import RedisStore

    alias = urlsplit(url).netloc
    caches: Mapping[str, Mapping[str, Any]] = settings.CACHES
    if alias not in caches:
        raise StoreURLError(f"store={url!r}: the setting CACHES has no {alias!r}; {nearest(alias, caches)}")
    backend = str(caches[alias].get("BACKEND", ""))
    if backend in _REDIS:
        return RedisStore(_location(url, caches[alias]))
    return UncountableCache(alias, backend)


def _location(url: str, cache: Mapping[str, Any]) -> str:
    """The first location, which is the primary in every backend."""
    location = cache.get("LOCATION", "")
    servers = location.replace(";", ",").split(",") if isinstance(location, str) else list(location)
    if not servers or not servers[0]:
        raise StoreURLError(f"store={url!r}: this cache has no LOCATION to connect to")
    return str(servers[0]).strip()


class UncountableCache:
    """A cache on which no limit can count: every use of it is refused, at start when the policy starts.

    It exists so that several workers on a per-process cache are reported as such (RLK201).
    """

    def __init__(self, alias: str, backend: str) -> None:
        self.alias = alias
        self.backend = backend
        self.scope = Scope.PROCESS if backend in _PER_PROCESS else Scope.HOST

    @property
    def title(self) -> str:
        """What messages call it."""
        return f"the cache {self.alias!r} ({self.backend.rpartition('.')[2]})"

    def _refuse(self, *_: object, **__: object) -> Any:
        raise UnsafeCacheError(
            f"{self.title} cannot count hits: its data is not shared, or not changed in one atomic step, so limits would "
            f"silently not hold. Point the store at a Redis cache:\n\n{_PASTE}\n"
        )

    async def _arefuse(self, *_: object, **__: object) -> Any:
        self._refuse()

    decide = refund = reset = ping = close = _refuse
    adecide = arefund = areset = aping = aclose = _arefuse
