"""Answers as they come over the wire, byte by byte."""

from __future__ import annotations

import socket
import time
from collections.abc import Mapping
from typing import NamedTuple

SERVERS_OWN = {"date", "server", "connection"}


class Raw(NamedTuple):
    """An answer as it came: the status line, the field lines without the server's own, the body, when it came."""

    status: str
    fields: list[str]
    body: bytes
    at: float


def ask(port: int, path: str, *, method: str = "GET", fields: Mapping[str, str | None]) -> Raw:
    """One request over a connection of its own; a body keeps the server's framing."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", "Connection: close"]
    lines += [f"{name}: {value}" for name, value in fields.items() if value is not None]
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        with connection.makefile("rb") as answer:
            head, _, body = answer.read().partition(b"\r\n\r\n")
    status, *rest = head.decode("latin-1").split("\r\n")
    own = [line for line in rest if line.lower().split(":")[0] not in SERVERS_OWN]
    return Raw(status, own, body, time.time())
