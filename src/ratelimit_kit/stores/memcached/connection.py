"""A blocking connection to a server, with one deadline for everything that a call does with it, and their pool."""

from __future__ import annotations

import socket
from collections.abc import Hashable, Mapping
from time import monotonic
from typing import Any

from ratelimit_kit.stores.memcached.protocol import InvalidReply, Reader
from ratelimit_kit.stores.memcached.servers import Address
from ratelimit_kit.stores.pool import ConnectionPool, input_check

SMALL = 4096
"""Bytes of nearly every request and reply: a socket's buffer always has room for so many."""

CHUNK = 65536
"""Bytes of a larger reply that are received at once."""


class Connection:
    """An open connection; after an error it must not be used again, because a reply may still be on its way.

    Setting a socket's time-out is a call of the system, so it is set to `patience` once, and again only for a call that
    has less time left than that, or has waited for that long.
    """

    __slots__ = ("_large", "_patience", "_timeout", "has_input", "sock")

    def __init__(self, sock: socket.socket, patience: float) -> None:
        self.sock = sock
        self.has_input = input_check(sock)
        self._large = False
        self._patience = self._timeout = patience
        sock.settimeout(patience)

    def send(self, data: bytes, deadline: float) -> None:
        """Send a request until `deadline` (monotonic seconds)."""
        left = deadline - monotonic()
        if left < self._timeout or len(data) > SMALL:
            self._set_timeout(left)
        elif self._timeout < self._patience:
            self._set_timeout(self._patience)
        self.sock.sendall(data)

    def receive_some(self, deadline: float) -> bytes:
        """What has arrived of a reply, which mostly is all of it."""
        if deadline - monotonic() < self._timeout:
            self._set_timeout(deadline - monotonic())
        while True:
            try:
                received = self.sock.recv(CHUNK if self._large else SMALL)
            except TimeoutError:
                self._set_timeout(deadline - monotonic())
                continue
            if received:
                return received
            raise ConnectionError("the connection was closed instead of a reply")

    def receive(self, reader: Reader, deadline: float, received: bytes = b"") -> dict[str, Any]:
        """Receive (the rest of) the reply that `reader` understands; anything else, or anything more, is InvalidReply."""
        while (found := reader(received)) is None:
            self._large = len(received) >= SMALL
            received += self.receive_some(deadline)
        self._large = False
        reply, length = found
        if length != len(received):
            raise InvalidReply(repr(received[length : length + 60])[1:])
        return reply

    def _set_timeout(self, seconds: float) -> None:
        if seconds <= 0:
            raise TimeoutError
        self._timeout = seconds
        self.sock.settimeout(seconds)

    def close(self) -> None:
        """Close it."""
        self.sock.close()


class MemcachedConnections(ConnectionPool[Connection]):
    """This process's blocking connections to all servers of a store."""

    def __init__(self, size: int, addresses: Mapping[str, Address], timeout: float) -> None:
        super().__init__(size)
        self._addresses = addresses
        self._patience = timeout / 2

    def connect(self, place: Hashable, deadline: float) -> Connection:
        """A new connection to a server, opened until `deadline`; looking up a host's name has no deadline."""
        address = self._addresses[str(place)]
        error: OSError | None = None
        addresses = addresses_of(address)
        for family, target in addresses:
            sock = new_socket(family)
            try:
                # One address that hangs leaves time for the next one.
                sock.settimeout(_left(deadline) / (1 if target == addresses[-1][1] else 2))
                sock.connect(target)
            except OSError as failure:
                sock.close()
                error = failure
            except BaseException:
                sock.close()
                raise
            else:
                return Connection(sock, self._patience)
        raise error or OSError("the host has no address")

    def is_fit(self, connection: Connection) -> bool:
        """Whether the connection is open and holds no unread data."""
        return not connection.has_input()


def addresses_of(address: Address, flags: int = 0) -> list[tuple[int, Any]]:
    """The socket families and socket addresses of a server, in the order to try them."""
    if isinstance(address, str):
        return [(socket.AF_UNIX, address)]
    found = socket.getaddrinfo(*address, type=socket.SOCK_STREAM, flags=flags)
    return [(family, target) for family, _, _, _, target in found]


def new_socket(family: int) -> socket.socket:
    """A socket that sends small requests at once."""
    sock = socket.socket(family, socket.SOCK_STREAM)
    if family != getattr(socket, "AF_UNIX", None):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def _left(deadline: float) -> float:
    left = deadline - monotonic()
    if left <= 0:
        raise TimeoutError
    return left
