"""Redis URLs: a single server, a primary monitored by Sentinels, or a cluster.

    redis://  rediss://  unix://          one server; rediss is TLS
    redis+sentinel://h1:26379,h2/name/0   the primary called `name`, database 0
    redis+cluster://h1:6379,h2            a cluster, by some of its nodes

`valkey` may replace `redis` everywhere, and `rediss+...` or `valkeys+...` means TLS. The user and password before
the hosts are for Redis; those for Sentinels are `?sentinel_username=...&sentinel_password=...`. `?protocol=3`
selects RESP3.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from ratelimit_kit.core.validation import nearest, read_digits
from ratelimit_kit.stores.urls import StoreURL, read_url, redacted

_PORTS = {"sentinel": 26379, "cluster": 6379}

_OPTIONS = frozenset(
    {
        "protocol",
        "sentinel_username",
        "sentinel_password",
        "ssl_ca_certs",
        "ssl_cert_reqs",
        "ssl_certfile",
        "ssl_check_hostname",
        "ssl_keyfile",
    }
)


OF_ONE_SERVER = frozenset(
    {"timeout", "db", "client_name", "health_check_interval", "socket_keepalive"}
    | {name for name in _OPTIONS if not name.startswith("sentinel_")}
)
"""The options of a single-server URL that messages suggest; redis-py accepts a few more."""


_OBJECTS = frozenset(
    {
        "cache",
        "cache_config",
        "command_packer",
        "connection_class",
        "credential_provider",
        "driver_info",
        "event_dispatcher",
        "maint_notifications_config",
        "parser_class",
        "redis_connect_func",
        "retry",
        "retry_on_error",
        "socket_type",
        "ssl_ocsp_context",
    }
)
"""Options of redis-py that take objects: it would take the text of a URL for one, and fail with the first call."""

_CHOICES: Mapping[str, Mapping[str, Any]] = {
    "protocol": {"2": 2, "3": 3},
    "ssl_cert_reqs": {word: word for word in ("none", "optional", "required")},
    "ssl_check_hostname": {**dict.fromkeys(("true", "1", "yes"), True), **dict.fromkeys(("false", "0", "no"), False)},
}
"""What options with few values may be, and what that means to redis-py."""


@dataclass(frozen=True)
class Address:
    """The address of Redis; `url`, for a single server, is passed to redis-py; `options` are for connections."""

    kind: Literal["single", "sentinel", "cluster"]
    url: str = field(default="", repr=False)
    nodes: tuple[tuple[str, int], ...] = ()
    service: str = ""
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    sentinel_options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    shown: str = field(default="", compare=False)
    """The redacted URL, for messages."""

    def in_resp2(self) -> Address:
        """The same address with RESP2, whatever protocol it asks for."""
        base, mark, query = self.url.partition("?")
        kept = "&".join(pair for pair in query.split("&") if pair.partition("=")[0] != "protocol")
        options = {name: value for name, value in self.options.items() if name != "protocol"}
        return replace(self, url=base + (mark + kept if kept else ""), options=options)


def read_address(text: str) -> Address:
    """The address in a URL; raises StoreURLError if it is not a Redis URL."""
    url = read_url(text)
    url = replace(url, scheme=url.scheme.replace("valkey", "redis"))
    scheme, _, kind = url.scheme.partition("+")
    if scheme not in {"redis", "rediss", "unix"} or kind not in {"", "cluster", "sentinel"}:
        raise url.refused("is not a Redis URL. For example: 'redis://127.0.0.1:6379/0'")
    if kind == "cluster":
        address = _cluster(url, secure=scheme == "rediss")
    elif kind == "sentinel":
        address = _sentinel(url, secure=scheme == "rediss")
    else:
        address = _single(url)
    return replace(address, shown=redacted(text))


def _single(url: StoreURL) -> Address:
    """The address of a single server; rejects what redis-py would silently ignore, and leaves the rest to it."""
    if url.scheme == "unix":
        if url.hosts or not url.path.strip("/"):
            raise url.refused("does not name a socket. For example: 'unix:///run/redis.sock?db=0'")
        url.check_socket("redis://127.0.0.1:6379/0")
        return _without_login(url)
    if url.hosts:
        (_,) = replace(url, hosts=("localhost" if url.hosts.startswith(":") else "") + url.hosts).nodes(6379)[:1]
    if "," in url.hosts:
        raise url.refused(
            f"names several servers: use '{url.scheme}+sentinel://' or '{url.scheme}+cluster://' for them"
        )
    _database(url, url.path.strip("/"))
    return _without_login(url)


def _without_login(url: StoreURL) -> Address:
    """The address with user and password apart from the URL, because redis-py quotes URLs in its errors."""
    for name in ("socket_timeout", "socket_connect_timeout"):
        if name in url.options:
            raise url.refused(
                f"has the option {name}: write timeout=, the seconds for connecting and for a call together"
            )
    for name, value in url.options.items():
        if name in _OBJECTS:
            raise url.refused(
                f"has the option {name}, which takes an object: give RedisStore a client of your own, as client=..."
            )
        _meant(url, name, value)
    return Address("single", url=replace(url, login="").text(), options=_login(url))


def _cluster(url: StoreURL, *, secure: bool) -> Address:
    security, _ = _options(url, secure=secure)
    nodes = url.nodes(6379)
    if url.path.strip("/"):
        raise url.refused("has something after the hosts, and a cluster has no databases: leave it out")
    return Address("cluster", nodes=nodes, options={**security, **_login(url)})


def _sentinel(url: StoreURL, *, secure: bool) -> Address:
    security, sentinels = _options(url, secure=secure)
    nodes = url.nodes(26379)
    service, _, database = url.path.strip("/").partition("/")
    if not service:
        raise url.refused("does not name a primary. For example: 'redis+sentinel://127.0.0.1:26379/mymaster/0'")
    options = {**security, **_login(url), "db": _database(url, database)}
    return Address(
        "sentinel", nodes=nodes, service=service, options=options, sentinel_options={**security, **sentinels}
    )


def _login(url: StoreURL) -> dict[str, str]:
    return {name: value for name, value in (("username", url.username), ("password", url.password)) if value}


def _database(url: StoreURL, text: str) -> int:
    number = read_digits(text or "0")
    if number is None:
        raise url.refused("has a path that is not a database number. For example: 'redis://127.0.0.1:6379/0'")
    return number


def _options(url: StoreURL, *, secure: bool) -> tuple[dict[str, Any], dict[str, str]]:
    """The options of all connections, and the additional ones for Sentinels."""
    for name in url.options:
        if name not in _OPTIONS:
            raise url.refused(f"has no option {name!r}; {nearest(name, _OPTIONS)}")
    security: dict[str, Any] = {}
    sentinels: dict[str, str] = {}
    for name, value in url.options.items():
        if name == "protocol":
            security[name] = _meant(url, name, value)
        elif name.startswith("sentinel_"):
            sentinels[name.removeprefix("sentinel_")] = value
        elif secure:
            security[name] = _meant(url, name, value)
        else:
            raise url.refused(
                f"has the option {name}, which is about TLS: write {url.scheme.replace('redis', 'rediss')}://"
            )
    return security | ({"ssl": True} if secure else {}), sentinels


def _meant(url: StoreURL, name: str, value: str) -> Any:
    """What the text of an option means to redis-py; StoreURLError if it is none of the few that it may be."""
    choices = _CHOICES.get(name, {value.lower(): value})
    if value.lower() not in choices:
        told = {meaning: text for text, meaning in reversed([*choices.items()])}
        raise url.refused(f"has {name}={value!r}: choose {' or '.join(sorted(told.values()))}")
    return choices[value.lower()]
