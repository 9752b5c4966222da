"""Translates a cache's options into a store's: how to reach Redis or Memcached, and nothing else.

Options that do not affect counting (serializers, compressors, connection pools) are ignored. Any other option that
is not understood is rejected: counting elsewhere than the settings say would be a silent error.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final
from urllib.parse import quote

from ratelimit_kit.errors import OptionError, StoreURLError
from ratelimit_kit.stores.urls import StoreURL, read_url

_CONNECTING: Final = frozenset({"username", "password", "db", "protocol", "socket_timeout"})

_VALUES: Final = frozenset(
    {
        *("serializer", "parser_class", "pool_class", "max_connections", "timeout", "socket_connect_timeout"),
        *("socket_keepalive", "socket_keepalive_options", "socket_read_size", "health_check_interval", "client_name"),
        *("retry", "retry_on_error", "retry_on_timeout", "encoding", "encoding_errors", "decode_responses"),
        *("lib_name", "lib_version", "driver_info", "legacy_responses"),
    }
)
"""Further options of Django and redis-py, which mean nothing to our own client."""

_DJANGO_REDIS: Final = frozenset(
    {
        *("CLOSE_CONNECTION", "COMPRESSOR", "CONNECTION_POOL_CLASS", "IGNORE_EXCEPTIONS", "LOG_IGNORED_EXCEPTIONS"),
        *("PARSER_CLASS", "PICKLE_VERSION", "REPLICA_READ_ONLY", "REVERSE_KEY_FUNCTION", "SERIALIZER"),
        *("SOCKET_CONNECT_TIMEOUT", "COMPRESS_MIN_LEN", "CACHE_HERD_TIMEOUT"),
    }
)

_ONE_SERVER: Final = frozenset({"django_redis.client.DefaultClient", "django_redis.client.HerdClient"})
_SENTINELS: Final = frozenset({"django_redis.client.SentinelClient", "django_redis.client.sentinel.SentinelClient"})
_FACTORIES: Final = {
    "django_redis.pool.ConnectionFactory": False,
    "django_redis.pool.SentinelConnectionFactory": True,
}

_PYMEMCACHE: Final = frozenset(
    {
        *(
            "allow_unicode_keys",
            "connect_timeout",
            "dead_timeout",
            "default_noreply",
            "encoding",
            "hasher",
            "ignore_exc",
        ),
        *("max_pool_size", "no_delay", "pool_idle_timeout", "retry_attempts", "retry_timeout", "serde", "serializer"),
        *("deserializer", "socket_keepalive", "use_pooling", "lock_generator", "socket_module", "behaviors", "binary"),
    }
)


class Options:
    """The options of the cache `alias`, taken out one by one; those left over are rejected."""

    def __init__(self, alias: str, given: Mapping[str, Any]) -> None:
        self._alias = alias
        self._left = dict(given)

    def has(self, name: str) -> bool:
        """Whether the option is given, even as None."""
        return name in self._left

    def take(self, name: str) -> Any:
        """The option's value, or None if it is not given."""
        return self._left.pop(name, None)

    def ignore(self, names: Iterable[str]) -> None:
        """Drop options that mean nothing here."""
        for name in names:
            self._left.pop(name, None)

    def refuse(self, name: str, value: object = None) -> StoreURLError:
        """The error for an option that cannot be honoured; its value may be a secret."""
        shown = f"{name}={value!r}" if value is not None else name
        return StoreURLError(
            f"the cache {self._alias!r} has the option {shown}, which django-cache:// does not support: it would count elsewhere "
            'than the settings say. Give the store a URL of its own, for example "redis://127.0.0.1:6379/0"'
        )

    def finish(self) -> None:
        """Raise StoreURLError if an option is left over."""
        for name in self._left:
            raise self.refuse(name)


def redis_url(alias: str, url: str, given: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The URL and the options of a RedisStore for one of Django's own Redis caches."""
    found, keywords = _single(url, Options(alias, given))
    return found.text(), keywords


def django_redis_url(alias: str, url: str, given: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The URL and the options of a RedisStore for a cache of django-redis."""
    options = Options(alias, given)
    by_sentinels = _by_sentinels(options)
    options.ignore(_DJANGO_REDIS)
    pool = dict(options.take("CONNECTION_POOL_KWARGS") or {})
    for name in ("USERNAME", "PASSWORD", "SOCKET_TIMEOUT"):
        value = options.take(name)
        if value:
            pool.setdefault(name.lower(), value)
    sentinels, own = options.take("SENTINELS"), Options(alias, options.take("SENTINEL_KWARGS") or {})
    options.finish()
    found, keywords = _single(url, Options(alias, pool))
    return (_sentinel_url(found, sentinels, own) if by_sentinels else found).text(), keywords


def memcached_options(alias: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a MemcachedStore for a cache of pymemcache or pylibmc."""
    options = Options(alias, given)
    timeout = options.take("timeout")
    options.ignore(_PYMEMCACHE)
    options.finish()
    return {} if timeout is None else {"timeout": timeout}


def _by_sentinels(options: Options) -> bool:
    """Whether the cache's client uses Sentinels; unknown kinds of client are rejected."""
    client, factory = options.take("CLIENT_CLASS"), options.take("CONNECTION_FACTORY")
    if client is not None and client not in _ONE_SERVER | _SENTINELS:
        raise options.refuse("CLIENT_CLASS", client)
    if factory is not None and factory not in _FACTORIES:
        raise options.refuse("CONNECTION_FACTORY", factory)
    return client in _SENTINELS or _FACTORIES.get(factory, False)


def _single(url: str, options: Options) -> tuple[StoreURL, dict[str, Any]]:
    """The URL and options for a single server; as in redis-py, the URL takes precedence over an option."""
    known = read_url(url)
    query = dict(known.options)
    taken = {name: options.take(name) for name in _CONNECTING}
    user, colon, password = known.login.partition(":")
    if not user and taken["username"] is not None:
        user = quote(str(taken["username"]), safe="")
    if not password and taken["password"] is not None:
        colon, password = ":", quote(str(taken["password"]), safe="")
    path = known.path
    if taken["db"] is not None and known.scheme == "unix":
        query.setdefault("db", str(taken["db"]))
    elif taken["db"] is not None and not path.strip("/"):
        path = f"/{taken['db']}"
    if taken["protocol"] is not None:
        query.setdefault("protocol", str(taken["protocol"]))
    for name, value in _tls(options):
        query.setdefault(name, value)
    options.ignore(_VALUES)
    options.finish()
    query.pop("socket_connect_timeout", None)  # the one deadline covers connecting too
    timeout = query.pop("socket_timeout", None) or taken["socket_timeout"]
    found = replace(known, login=f"{user}{colon}{password}", path=path, options=query)
    return found, {} if timeout is None else {"timeout": _seconds(timeout)}


def _seconds(timeout: Any) -> float:
    try:
        return float(timeout)
    except (TypeError, ValueError):
        raise OptionError(f"socket_timeout must be a number of seconds, got {timeout!r}") from None


def _tls(options: Options) -> Iterator[tuple[str, str]]:
    if options.has("ssl_cert_reqs"):
        yield "ssl_cert_reqs", _required(options.take("ssl_cert_reqs"))
    for name in ("ssl_ca_certs", "ssl_certfile", "ssl_check_hostname", "ssl_keyfile"):
        value = options.take(name)
        if value is not None:
            yield name, str(value)


def _required(value: Any) -> str:
    """The name redis-py uses: it takes "none", "optional", "required" or the constants of `ssl`; None is "none"."""
    return str(getattr(value, "name", value)).removeprefix("CERT_").lower()


def _sentinel_url(url: StoreURL, sentinels: Any, own: Options) -> StoreURL:
    """The URL for Sentinels: `url` has the primary's name as its host; `own` are options of the Sentinels."""
    query = dict(url.options)
    query.pop("is_master", None)
    database = query.pop("db", "") or url.path.strip("/") or "0"
    if not sentinels:
        raise own.refuse("SENTINELS, which is empty", None)
    for name in ("username", "password"):
        value = own.take(name)
        if value is not None:
            query[f"sentinel_{name}"] = str(value)
    own.ignore({*_VALUES, "socket_timeout"})
    own.finish()
    hosts = ",".join(f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}" for host, port in sentinels)
    path = f"/{url.hosts.partition(':')[0]}/{database}"
    return replace(url, scheme=f"{url.scheme}+sentinel", hosts=hosts, path=path, options=query)
