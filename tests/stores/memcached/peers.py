"""A peer that speaks as much of Memcached's protocol as the store does, and misbehaves on demand."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

Piece = bytes | float | None
"""Something to send, seconds to wait before the next piece, or None to close the connection."""


class Peer:
    """Values with tokens, kept by threads; `pieces` makes of each reply what is sent, and `counts` counts commands.

    A peer that is `full` refuses to write.
    """

    def __init__(self) -> None:
        self.values: dict[bytes, tuple[bytes, int]] = {}
        self.counts: Counter[str] = Counter()
        self.pieces: Callable[[bytes, bytes], Sequence[Piece]] = lambda _, reply: [reply]
        self.full = False
        self.ended = threading.Event()
        self._lock = threading.Lock()
        self._token = 0
        self._open: list[socket.socket] = []
        self._server = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.url = f"memcached://127.0.0.1:{self._server.getsockname()[1]}"
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def close_connections(self) -> None:
        """Close all connections, as a server that is restarted or drops idle clients."""
        for one in self._open:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def say(self, unasked: bytes) -> None:
        """Send something on all connections that nobody has asked for."""
        for one in self._open:
            with contextlib.suppress(OSError):
                one.sendall(unasked)

    def stop(self) -> None:
        """Close everything."""
        self.ended.set()
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self.close_connections()
        for thread in self._threads:
            thread.join()
        for one in self._open:
            one.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.counts["connections"] += 1
            self._open.append(connection)
            self._threads.append(threading.Thread(target=self._serve, args=(connection,)))
            self._threads[-1].start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError, ConnectionError), connection.makefile("rb") as lines:
            while line := lines.readline():
                words = line.split()
                data = lines.read(int(words[4]) + 2)[:-2] if words[0] in {b"add", b"cas"} else b""
                with self._lock:
                    reply = self._reply(words, data)
                for piece in self.pieces(line, reply):
                    if piece is None:
                        connection.shutdown(socket.SHUT_RDWR)
                        return
                    if isinstance(piece, bytes):
                        connection.sendall(piece)
                    elif self.ended.wait(piece):
                        return

    def _reply(self, words: Sequence[bytes], data: bytes) -> bytes:
        command, name = words[0].decode(), words[1] if len(words) > 1 else b""
        self.counts[command] += 1
        token = self.values.get(name, (b"", 0))[1]
        if command == "gets":
            found = [(key, *self.values[key]) for key in words[1:] if key in self.values]
            return b"".join(b"VALUE %b 0 %d %d\r\n%b\r\n" % (k, len(v), t, v) for k, v, t in found) + b"END\r\n"
        if command == "delete":
            return b"DELETED\r\n" if self.values.pop(name, None) else b"NOT_FOUND\r\n"
        if command == "version":
            return b"VERSION 1.6.18\r\n"
        if self.full:
            return b"SERVER_ERROR out of memory storing object\r\n"
        if (command == "add") is bool(token) or (command == "cas" and int(words[5]) != token):
            self.counts["conflicts"] += 1
            return b"EXISTS\r\n" if token else b"NOT_FOUND\r\n"
        self._token += 1
        self.values[name] = data, self._token
        return b"STORED\r\n"


@contextlib.contextmanager
def running_peer() -> Iterator[Peer]:
    """A peer, stopped at the end."""
    peer = Peer()
    try:
        yield peer
    finally:
        peer.stop()


def drips(_: bytes, reply: bytes) -> list[Piece]:
    """One byte in a tenth of a second."""
    return [piece for byte in reply for piece in (0.1, bytes([byte]))]


def is_silent(_: bytes, __: bytes) -> list[Piece]:
    """No answer at all."""
    return []
