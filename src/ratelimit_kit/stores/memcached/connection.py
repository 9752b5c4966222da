"""Connections to one Memcached server: pymemcache clients, kept while nobody uses them.

pymemcache's own pool does the same with more around it. A client whose call failed is closed and not used
again, for what it would read next is not known.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Any

from ratelimit_kit.errors import DependencyError

try:
    from pymemcache.client.base import Client
    from pymemcache.client.rendezvous import RendezvousHash
    from pymemcache.exceptions import MemcacheError
except ImportError as error:
    raise DependencyError(
        "the Memcached store needs the pymemcache package, which is not installed: pip install 'ratelimit-kit[memcached]'"
    ) from error

__all__ = ["FAILURES", "Lines", "RendezvousHash", "expire"]

FAILURES = (MemcacheError, OSError)


MONTH = 30 * 86400
"""Seconds above which Memcached takes an expiry for a time of the epoch."""


class Lines:
    """The free connections to one server, in this process; `timeout` is the deadline in seconds."""

    def __init__(self, address: tuple[str, int] | str, timeout: float) -> None:
        self._address = address
        self._timeout = timeout
        self._free: deque[Any] = deque()

    def call(self, command: str, *arguments: Any) -> Any:
        """Send a command of pymemcache's and return the answer."""
        client = self._take()
        try:
            answer = getattr(client, command)(*arguments)
        except BaseException:
            client.close()
            raise
        self._free.append(client)
        return answer

    def change(self, key: str, work: Callable[[bytes], tuple[bytes, int] | None]) -> bool:
        """Read a value and write what `work` makes of it; false where there was none, or it is another one by then.

        pymemcache's own `gets` and `cas` take twice as long to read an answer of one line.
        """
        name = key.encode()
        client = self._take()
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
            client.close()
            raise
        self._free.append(client)
        return done

    def _take(self) -> Any:
        try:
            return self._free.pop()
        except IndexError:
            return Client(
                self._address,
                connect_timeout=self._timeout,
                timeout=self._timeout,
                no_delay=True,
                default_noreply=False,
            )

    def close(self) -> None:
        """Close what is free."""
        while self._free:
            self._free.pop().close()


def expire(seconds: int) -> int:
    """What Memcached takes for an expiry: seconds up to 30 days, beyond them a time of the epoch."""
    return seconds if seconds <= MONTH else int(time.time()) + seconds
