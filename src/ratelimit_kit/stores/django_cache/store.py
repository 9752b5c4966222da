"""`django-cache://alias`: counts on the server of one of a Django project's caches.

The cache's location, options and KEY_PREFIX are read once (`options.py` translates them), and a store of our own
is opened there: Django's cache interface has no atomic operation that a limit could rely on. Caches that
cannot count are refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ratelimit_kit.core.validation import nearest
from ratelimit_kit.errors import DependencyError, StoreURLError, UnsafeCacheError
from ratelimit_kit.stores import BaseStore, Scope, Store
from ratelimit_kit.stores.django_cache.options import django_redis_url, memcached_options, redis_url
from ratelimit_kit.stores.urls import read_url, redacted

try:
    from django.conf import settings
except ImportError as error:
    raise DependencyError.missing("django-cache://", "Django", "django") from error

_REDIS = {
    "django.core.cache.backends.redis.RedisCache": redis_url,
    "django_redis.cache.RedisCache": django_redis_url,
}

_MEMCACHED = frozenset(
    {
        "django.core.cache.backends.memcached.PyMemcacheCache",
        "django.core.cache.backends.memcached.PyLibMCCache",
    }
)

_PER_PROCESS = frozenset(
    {"django.core.cache.backends.locmem.LocMemCache", "django.core.cache.backends.dummy.DummyCache"}
)

_PASTE = """CACHES["ratelimit"] = {
    "BACKEND": "django.core.cache.backends.redis.RedisCache",
    "LOCATION": "redis://127.0.0.1:6379/0",
}
RATELIMIT_KIT = {"store": "django-cache://ratelimit", ...}"""


def from_url(url: str) -> Store:
    """A store on the server of the cache that `django-cache://alias` names."""
    parsed = read_url(url)
    if parsed.login or parsed.path.strip("/") or parsed.options:
        raise parsed.refused("names a cache and nothing else: write 'django-cache://default'; options go into CACHES")
    alias = parsed.hosts
    caches: Mapping[str, Mapping[str, Any]] = settings.CACHES
    if alias not in caches:
        raise StoreURLError(f"store={redacted(url)!r}: the setting CACHES has no {alias!r}; {nearest(alias, caches)}")
    cache = caches[alias]
    backend = str(cache.get("BACKEND", ""))
    if backend in _REDIS:
        from ratelimit_kit.stores.redis.store import RedisStore

        address, options = _REDIS[backend](alias, _locations(url, cache)[0], cache.get("OPTIONS") or {})
        return RedisStore(address, prefix=_prefix(cache), **options)
    if backend in _MEMCACHED:
        from ratelimit_kit.stores.memcached.store import MemcachedStore

        given = dict(cache.get("OPTIONS") or {})
        own = given.pop("key_prefix", b"")
        prefix = (own.decode("latin-1") if isinstance(own, bytes) else str(own)) + _prefix(cache)
        options = memcached_options(alias, given)
        return MemcachedStore(_memcached_url(url, _locations(url, cache)), prefix=prefix, **options)
    return UncountableCache(alias, backend)


def _locations(url: str, cache: Mapping[str, Any]) -> list[str]:
    """The locations of the cache's servers; in every Redis backend the first is the primary."""
    location = cache.get("LOCATION", "")
    servers = location.replace(";", ",").split(",") if isinstance(location, str) else list(location)
    found = [str(server).strip() for server in servers if str(server).strip()]
    if not found:
        raise StoreURLError(f"store={url!r}: this cache has no LOCATION to connect to")
    return found


def _prefix(cache: Mapping[str, Any]) -> str:
    """The prefix of the store's keys: sites that share a server stay separate through their KEY_PREFIX."""
    own = str(cache.get("KEY_PREFIX") or "")
    return f"{own}:rlk" if own else "rlk"


def _memcached_url(url: str, servers: list[str]) -> str:
    """The store's URL for these servers; Django writes a socket as `unix:/path` or as a path."""
    paths = [server.removeprefix("unix:") for server in servers]
    sockets = [path for path in paths if path.startswith("/")]
    if sockets and len(paths) > 1:
        raise StoreURLError(f"store={url!r}: several Memcached servers are reached by host and port, not by sockets")
    return "memcached://" + (sockets[0] if sockets else ",".join(servers))


class UncountableCache(BaseStore):
    """A cache on which no limit can count: every use raises an error, and no policy starts with it.

    It exists so that several workers on a per-process cache are reported as such (RLK201).
    """

    def __init__(self, alias: str, backend: str) -> None:
        self.alias = alias
        self.backend = backend
        self.scope = Scope.PROCESS if backend in _PER_PROCESS else Scope.HOST

    @property
    def title(self) -> str:
        """The name of this store in messages."""
        return f"the cache {self.alias!r} ({self.backend.rpartition('.')[2]})"

    remedy = (
        f"No number of workers makes this cache count. Point the store at a Redis or Memcached cache:\n\n{_PASTE}\n"
    )

    @property
    def flaw(self) -> UnsafeCacheError:  # type: ignore[override]  # a new one each time: an error is raised once
        """Why no limit can count here."""
        return UnsafeCacheError(
            f"{self.title} cannot count hits: its data is not shared, or not changed in one atomic step, so limits would "
            f"silently not hold. Point the store at a Redis or Memcached cache:\n\n{_PASTE}\n"
        )

    def _refuse(self, *_: object, **__: object) -> Any:
        raise self.flaw

    decide = refund = reset = ping = close = _refuse
