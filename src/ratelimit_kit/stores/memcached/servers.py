"""The servers of a store: their addresses, which of them has a key, and what each is sent for a step.

Rendezvous hashing assigns each key to one server, as in pymemcache's HashClient. That client itself is not used: after an
error it returns defaults for a while instead of raising, and then moves the keys of a lost server to others, where their
counters start from zero. Nor are pymemcache's connections: they limit the time of each read and not that of a call, and
there are none for an event loop.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from ratelimit_kit.errors import DependencyError
from ratelimit_kit.stores.memcached.commands import Ask, Read, Refused, Writes
from ratelimit_kit.stores.memcached.failures import Failures
from ratelimit_kit.stores.memcached.protocol import Reader, gets, stats, store, version
from ratelimit_kit.stores.urls import StoreURL

try:
    from pymemcache.client.rendezvous import RendezvousHash
except ImportError as error:
    raise DependencyError.missing("the Memcached store", "the pymemcache package", "memcached") from error

Address = tuple[str, int] | str
"""A host and a port, or the path of a UNIX socket."""


class Request(NamedTuple):
    """What one server is sent, what reads its reply, and the keys that it is about."""

    server: str
    data: bytes
    reader: Reader
    keys: Sequence[str] = ()


class Servers:
    """The servers of a URL, by their names in messages; `only` is the name of the only one."""

    def __init__(self, url: StoreURL, failures: Failures) -> None:
        self.addresses: dict[str, Address] = dict(_addresses(url))
        self._failures = failures
        self.only = next(iter(self.addresses)) if len(self.addresses) == 1 else None
        self._hash = RendezvousHash(nodes=list(self.addresses))

    def share_fate(self, keys: Sequence[str]) -> bool:
        """Whether these keys are certainly on one server."""
        return self.only is not None or len(keys) == 1

    def server_of(self, key: str) -> str:
        """The name of the server that has a key."""
        if self.only is not None:
            return self.only
        server: str = self._hash.get_node(key)
        return server

    def requests(self, step: Read | Writes | Ask) -> list[Request]:
        """What to send for a step: to each server that it concerns, one request."""
        if isinstance(step, Read):
            return [Request(server, *gets(some)) for server, some in self._by_server(step.keys, step.keys)]
        if isinstance(step, Writes):
            keys = [write.key for write in step.writes]
            parts = self._by_server(keys, step.writes)
            return [Request(server, *store(some), [write.key for write in some]) for server, some in parts]
        ask = version if step.command == "version" else stats
        return [Request(server, *ask()) for server in self.addresses]

    def answer(self, step: Read | Writes | Ask, replies: Sequence[tuple[str, dict[str, Any]]]) -> dict[str, Any]:
        """The result of a step; a StoreError stands for a write that its server has refused, or failed to confirm."""
        if isinstance(step, Ask):
            return dict(replies)
        merged: dict[str, Any] = {}
        for server, reply in replies:
            for key, found in reply.items():
                if isinstance(found, Refused):
                    refusal = self._failures.refused(server, found.line)
                    if isinstance(step, Read):
                        raise refusal
                    merged[key] = refusal
                else:
                    merged[key] = found
        return merged

    def _by_server(self, keys: Sequence[str], things: Sequence[Any]) -> Iterator[tuple[str, Sequence[Any]]]:
        if self.only is not None:
            yield self.only, things
            return
        found: dict[str, list[Any]] = {}
        for key, thing in zip(keys, things, strict=True):
            found.setdefault(self.server_of(key), []).append(thing)
        yield from found.items()


def _addresses(url: StoreURL) -> Iterator[tuple[str, Address]]:
    """Server names and their addresses."""
    if url.options or url.login or bool(url.hosts) == (url.path not in {"", "/"}):
        raise url.refused(
            "is not a Memcached URL: write 'memcached://127.0.0.1:11211', several servers with commas, or "
            "'memcached:///path/to.sock'"
        )
    if not url.hosts:
        url.check_socket("memcached://127.0.0.1:11211")
        yield url.path, url.path
        return
    for host, port in url.nodes(11211):
        yield f"{host}:{port}", (host, port)
