"""What a Redis URL says: one server, a primary that Sentinels know, or a cluster.

    redis://  rediss://  unix://          one server; rediss is TLS
    redis+sentinel://h1:26379,h2/name/0   the primary called `name`, database 0
    redis+cluster://h1:6379,h2            a cluster, by some of its nodes

`valkey` may stand for `redis` everywhere, and `rediss+...` or `valkeys+...` means TLS. A user and password
before the hosts are those of Redis; Sentinels take `?sentinel_username=...&sentinel_password=...`, and all take
`?protocol=3` for RESP3.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal
from urllib.parse import parse_qsl, unquote, urlsplit

from ratelimit_kit.core.options import nearest
from ratelimit_kit.errors import StoreURLError
from ratelimit_kit.stores import redacted

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


@dataclass(frozen=True)
class Address:
    """Where Redis is. `url` is one that redis-py reads, for a single server; `options` are for connections."""

    kind: Literal["single", "sentinel", "cluster"]
    url: str = ""
    nodes: tuple[tuple[str, int], ...] = ()
    service: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    sentinel_options: Mapping[str, Any] = field(default_factory=dict)

    def in_resp2(self) -> Address:
        """The same address, whatever protocol it wants to be spoken to in."""
        base, mark, query = self.url.partition("?")
        kept = "&".join(pair for pair in query.split("&") if pair.partition("=")[0] != "protocol")
        options = {name: value for name, value in self.options.items() if name != "protocol"}
        return replace(self, url=base + (mark + kept if kept else ""), options=options)


def read_address(url: str) -> Address:
    """The address that a URL gives; StoreURLError for one that gives none."""
    try:
        return _read(url.replace("valkey", "redis", 1))
    except ValueError as error:
        if isinstance(error, StoreURLError):
            raise
        raise StoreURLError(f"store={redacted(url)!r} is no Redis URL: {error}") from None


def _read(url: str) -> Address:
    scheme, _, kind = urlsplit(url).scheme.partition("+")
    if not kind:
        return Address("single", url)
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query, strict_parsing=bool(parts.query)))
    for name in query:
        if name not in _OPTIONS:
            raise StoreURLError(f"store={redacted(url)!r} has no option {name!r}; {nearest(name, _OPTIONS)}")
    login, _, hosts = parts.netloc.rpartition("@")
    user, _, password = login.partition(":")
    sentinels = {
        name.removeprefix("sentinel_"): query.pop(name) for name in list(query) if name.startswith("sentinel_")
    }
    spoken = {"protocol": int(query.pop("protocol"))} if "protocol" in query else {}
    if query and scheme != "rediss":
        raise StoreURLError(f"store={redacted(url)!r}: {next(iter(query))} is about TLS: write {scheme}s+{kind}://")
    security: dict[str, Any] = {**spoken, **query, "ssl": True} if scheme == "rediss" else {**spoken}
    options = {**security, **{k: unquote(v) for k, v in (("username", user), ("password", password)) if v}}
    nodes = tuple(_node(host, _PORTS[kind]) for host in hosts.split(","))
    service, _, database = parts.path.strip("/").partition("/")
    if kind == "cluster":
        if service:
            raise StoreURLError(f"store={redacted(url)!r}: a cluster has no databases, so nothing may follow the hosts")
        return Address("cluster", nodes=nodes, options=options)
    if not service:
        raise StoreURLError(
            f"store={redacted(url)!r} names no primary: write for example 'redis+sentinel://127.0.0.1:26379/mymaster/0'"
        )
    options["db"] = int(database or 0)
    return Address(
        "sentinel", nodes=nodes, service=service, options=options, sentinel_options={**security, **sentinels}
    )


def _node(text: str, port: int) -> tuple[str, int]:
    parts = urlsplit(f"//{text}")
    if not parts.hostname:
        raise ValueError(f"{text!r} is no host")
    return parts.hostname, parts.port or port
