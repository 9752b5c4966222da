"""A connection of an event loop to one server, on which requests follow each other without waiting for replies.

Memcached answers in the order of the requests, so each reply belongs to the oldest request. A caller who no longer waits
leaves his request in that order, so that its reply is read and nobody else is given it. A connection opens when it is
used, and again after it was lost.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Any

from ratelimit_kit.stores.memcached.connection import CHUNK, addresses_of, new_socket
from ratelimit_kit.stores.memcached.protocol import InvalidReply, Reader
from ratelimit_kit.stores.memcached.servers import Address
from ratelimit_kit.stores.pool import input_check

OnReply = Callable[[str, "dict[str, Any] | Exception"], None]
"""Is given the server's name and its reply, or an error instead: of the system, or an InvalidReply."""


class Pending:
    """A request without its reply; `on_reply` is None once nobody waits for it."""

    __slots__ = ("data", "on_reply", "reader")

    def __init__(self, data: bytes, reader: Reader, on_reply: OnReply) -> None:
        self.data = data
        self.reader = reader
        self.on_reply: OnReply | None = on_reply


class LoopConnection:
    """The connection to the server `name`; `answered_at` is when it has last replied (monotonic seconds).

    Of several addresses, all but the last share `patience` seconds: those that hang leave time for the next one.
    """

    def __init__(self, name: str, address: Address, patience: float) -> None:
        self._name = name
        self._address = address
        self._patience = patience
        self._link: _Link | None = None
        self._opening: asyncio.Task[None] | None = None
        self._unsent: list[Pending] = []
        self._sent: deque[Pending] = deque()
        self._received = b""
        self.answered_at = 0.0

    def send(self, pending: Pending) -> None:
        """Send a request: at once if the server is idle, else together with all others of this iteration of the loop."""
        self._unsent.append(pending)
        if not self._sent and len(self._unsent) == 1:
            self._flush()
        elif len(self._unsent) == 1:
            asyncio.get_running_loop().call_soon(self._flush)

    def fail(self, error: Exception) -> None:
        """Close the connection, and give the error to all who wait for it."""
        if self._opening is not None:
            self._opening.cancel()
            self._opening = None
        unsent, self._unsent = self._unsent, []
        self._lose(error)
        self._tell(unsent, error)

    def abandon(self) -> None:
        """Close the socket after the loop was closed: nobody waits any more."""
        if self._link is not None:
            self._link.close()
            self._link = None

    def _flush(self) -> None:
        if self._link is not None and not self._sent and self._link.has_input():
            self._lose(ConnectionError("the connection was closed"))  # nothing had been sent, so nothing is lost
        if self._link is None:
            if self._opening is None and self._unsent:
                self._opening = asyncio.get_running_loop().create_task(self._open())
            return
        sent = [pending for pending in self._unsent if pending.on_reply is not None]
        self._unsent = []
        self._sent += sent
        try:
            self._link.send(b"".join([pending.data for pending in sent]))
        except OSError as error:
            self._lose(error)

    async def _open(self) -> None:
        loop = asyncio.get_running_loop()
        error: Exception = OSError("the host has no address")
        try:
            addresses = await self._addresses(loop)
            patience = self._patience / max(1, len(addresses) - 1)
            for family, target in addresses:
                sock = new_socket(family)
                sock.setblocking(False)
                try:
                    async with asyncio.timeout(None if target == addresses[-1][1] else patience):
                        await loop.sock_connect(sock, target)
                except OSError as failure:
                    sock.close()
                    error = failure
                except BaseException:
                    sock.close()
                    raise
                else:
                    self._opening = None
                    self._link = _Link(loop, sock, self._on_readable)
                    self._flush()
                    return
        except Exception as failure:  # noqa: BLE001 - a mistake, too, is for those who wait
            error = failure
        self._opening = None
        self.fail(error)

    async def _addresses(self, loop: asyncio.AbstractEventLoop) -> list[tuple[int, Any]]:
        """The addresses to try; only a name has to be looked up, in a thread."""
        try:
            return addresses_of(self._address, socket.AI_NUMERICHOST)
        except socket.gaierror:
            found = await loop.getaddrinfo(*self._address, type=socket.SOCK_STREAM)
            return [(family, target) for family, _, _, _, target in found]

    def _on_readable(self) -> None:
        """Receive, and pass on the replies that are complete."""
        assert self._link is not None
        try:
            received = self._link.sock.recv(CHUNK)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._lose(error)
            return
        if not received:
            self._lose(ConnectionError("the connection was closed instead of a reply"))
            return
        self._received = self._received + received if self._received else received
        try:
            self._pass_on()
        except Exception as error:  # noqa: BLE001 - an InvalidReply; or a mistake, which is for those who wait
            self._lose(error)

    def _pass_on(self) -> None:
        place = 0
        while self._sent:
            found = self._sent[0].reader(self._received[place:] if place else self._received)
            if found is None:
                break
            reply, length = found
            place += length
            self.answered_at = monotonic()
            on_reply = self._sent.popleft().on_reply
            if on_reply is not None:
                on_reply(self._name, reply)
        self._received = self._received[place:]
        if self._received and not self._sent:
            raise InvalidReply(repr(self._received[:60])[1:])

    def _lose(self, error: Exception) -> None:
        """Close the connection, and give the error to those whose requests were sent; the others use the next one."""
        if self._link is not None:
            self._link.close()
            self._link = None
        self._received = b""
        sent, self._sent = self._sent, deque()
        self._tell(sent, error)

    def _tell(self, lost: Any, error: Exception) -> None:
        for pending in lost:
            if pending.on_reply is not None:
                pending.on_reply(self._name, error)


class _Link:
    """An open socket that a loop watches for an owner."""

    def __init__(self, loop: asyncio.AbstractEventLoop, sock: socket.socket, on_readable: Callable[[], None]) -> None:
        self.sock = sock
        self.has_input = input_check(sock)
        self._rest = b""
        self._loop = loop
        loop.add_reader(sock.fileno(), on_readable)

    def send(self, data: bytes) -> None:
        """Send now what the socket takes, and the rest as soon as it takes more."""
        data = self._rest + data
        try:
            sent = self.sock.send(data)
        except (BlockingIOError, InterruptedError):
            sent = 0
        had_rest, self._rest = bool(self._rest), data[sent:]
        if self._rest and not had_rest:
            self._loop.add_writer(self.sock.fileno(), self.send, b"")
        elif had_rest and not self._rest:
            self._loop.remove_writer(self.sock.fileno())

    def close(self) -> None:
        """Close the socket, which its loop stops watching first; a closed loop watches nothing."""
        if not self._loop.is_closed():
            self._loop.remove_reader(self.sock.fileno())
            self._loop.remove_writer(self.sock.fileno())
        self.sock.close()
