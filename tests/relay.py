"""A relay between a store and its server that misbehaves as networks, gateways and broken servers do."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from threading import Thread

Answer = Callable[[bytes], Iterable[bytes | float]]
"""What a client gets in place of what the server sent: bytes, and pauses in seconds."""


class Relay:
    """Passes everything on between its own `port` and a server's; `answer` replaces what the server sends."""

    def __init__(self, target: int) -> None:
        self.answer: Answer | None = None
        self.mute = False
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port: int = self._listener.getsockname()[1]
        self._forgotten: set[socket.socket] = set()
        self._open: set[socket.socket] = set()
        Thread(target=self._accept, daemon=True).start()

    @property
    def connections(self) -> int:
        """Connections of clients that are passed on."""
        return len(self._open - self._forgotten) // 2

    def forget(self) -> None:
        """Pass nothing on over the connections that there are, without an end: a gateway that has forgotten them."""
        self._forgotten |= self._open

    def cut(self) -> None:
        """Close the connections that there are."""
        for one in list(self._open):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Stop."""
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                self._open.add(near)
                if self.mute:
                    Thread(target=self._ignore, args=(near,), daemon=True).start()
                    continue
                far = socket.create_connection(("127.0.0.1", self._target))
                self._open.add(far)
                for source, sink, replies in ((near, far, False), (far, near, True)):
                    source.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    Thread(target=self._pass, args=(source, sink, replies), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket, replies: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if source in self._forgotten:
                    continue
                for part in self.answer(data) if replies and self.answer else [data]:
                    if isinstance(part, bytes):
                        sink.sendall(part)
                    else:
                        time.sleep(part)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)
        self._open.discard(source)
        source.close()

    def _ignore(self, source: socket.socket) -> None:
        """Read until the end, and answer nothing."""
        with source, contextlib.suppress(OSError):
            while source.recv(65536):
                pass
        self._open.discard(source)


@contextlib.contextmanager
def relay(target: int) -> Iterator[Relay]:
    """A relay to a port of this machine."""
    one = Relay(target)
    try:
        yield one
    finally:
        one.close()


def dribble(data: bytes) -> Iterator[bytes | float]:
    """The same bytes, one by one and slowly."""
    for at in range(len(data)):
        yield 0.1
        yield data[at : at + 1]
