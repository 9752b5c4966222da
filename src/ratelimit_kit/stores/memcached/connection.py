"""Connections to Memcached servers: pymemcache clients, pooled while idle.

pymemcache's own pool does the same with more overhead. A client whose call failed is closed and not used
again, because its next read might return the reply to the failed call.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from typing import Any

from ratelimit_kit.errors import DependencyError
from ratelimit_kit.stores.pool import ConnectionPool

try:
    from pymemcache.client.base import Client
    from pymemcache.client.rendezvous import RendezvousHash
    from pymemcache.exceptions import MemcacheError
except ImportError as error:
    raise DependencyError.missing("the Memcached store", "the pymemcache package", "memcached") from error

__all__ = ["FAILURES", "MemcachedConnections", "RendezvousHash", "expire"]

FAILURES = (MemcacheError, OSError)


MAX_RELATIVE_SECONDS = 30 * 86400
"""Seconds above which Memcached takes an expiry for a Unix timestamp."""


class MemcachedConnections(ConnectionPool[Any]):
    """This process's connections to all servers of a store; `timeout` is the deadline in seconds."""

    def __init__(self, size: int, timeout: float) -> None:
        super().__init__(size)
        self._timeout = timeout

    def call(self, address: Hashable, command: str, *arguments: Any) -> Any:
        """Call a method of the pymemcache client at `address` and return the reply."""
        client = self.take(address)
        try:
            reply = getattr(client, command)(*arguments)
        except BaseException:
            self.discard(client)
            raise
        self.keep(client, address)
        return reply

    def change(self, address: Hashable, key: str, work: Callable[[bytes], tuple[bytes, int] | None]) -> bool:
        """Replace a value by what `work` makes of it; False if there is none, or it has changed meanwhile.

        pymemcache's own `gets` and `cas` take twice as long to read a one-line reply.
        """
        name = key.encode()
        client = self.take(address)
        try:
            head, _, rest = client.raw_command(b"gets " + name, b"END\r\n").partition(b"\r\n")
            value, changed, done = rest[:-2], None, False
            if value:
                changed = work(value)
                done = changed is None
            if changed is not None:
                token, text = head.rpartition(b" ")[2], changed[0]
                write = b"cas %b 0 %d %d %b\r\n%b" % (name, expire(changed[1]), len(text), token, text)
                done = client.raw_command(write) == b"STORED"
        except BaseException:
            self.discard(client)
            raise
        self.keep(client, address)
        return done

    def connect(self, place: Hashable, deadline: float) -> Any:  # noqa: ARG002 - it connects later
        """A pymemcache client, which connects with its first command."""
        return Client(place, connect_timeout=self._timeout, timeout=self._timeout, no_delay=True, default_noreply=False)


def expire(seconds: int) -> int:
    """The expiry for Memcached: seconds up to 30 days, beyond that a Unix timestamp."""
    return seconds if seconds <= MAX_RELATIVE_SECONDS else int(time.time()) + seconds
