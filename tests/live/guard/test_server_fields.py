"""The proxy's header field under every WSGI server: clients cannot forge it, or a warning at startup says they can.

The table in the documentation is written if FIELD_TABLE names a file, as `make test-servers` does.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.processes import free_port, python_program, running

pytestmark = pytest.mark.live

APPS = Path(__file__).parent.parent / "apps"
SITE = "proxied:application"


@dataclass(frozen=True)
class Served:
    """How a server is started, what it does to the fields, and what is logged about that at startup."""

    command: Sequence[str]
    merges: bool = False
    drops: bool = False

    @property
    def code(self) -> str | None:
        return "RLK262" if self.merges else "RLK261" if self.drops else None


SERVERS = {
    "gunicorn": Served([python_program("gunicorn"), "-b", "127.0.0.1:{port}", SITE]),
    "gunicorn, header_map=dangerous": Served(
        [python_program("gunicorn"), "--header-map", "dangerous", "-b", "127.0.0.1:{port}", SITE], merges=True
    ),
    "granian": Served([python_program("granian"), "--interface", "wsgi", "--port", "{port}", SITE], merges=True),
    "uWSGI": Served(
        [python_program("pyuwsgi"), "--http-socket", "127.0.0.1:{port}", "--master", "--die-on-term", "--module", SITE],
        merges=True,
    ),
    "hypercorn": Served([python_program("hypercorn"), "-b", "127.0.0.1:{port}", f"wsgi:{SITE}"], merges=True),
    "uvicorn": Served(
        [python_program("uvicorn"), "--interface", "wsgi", "--no-proxy-headers", "--port", "{port}", SITE], merges=True
    ),
    "cheroot": Served([sys.executable, "proxied.py", "cheroot", "{port}"], merges=True),
    "waitress-serve": Served([python_program("waitress-serve"), "--listen", "127.0.0.1:{port}", SITE], drops=True),
    "waitress.serve": Served([sys.executable, "proxied.py", "waitress", "{port}"], drops=True),
    "waitress-serve --trusted-proxy": Served(
        [
            python_program("waitress-serve"),
            *("--trusted-proxy=127.0.0.1", "--trusted-proxy-headers=x-forwarded-for"),
            *("--listen", "127.0.0.1:{port}", SITE),
        ]
    ),
}


@pytest.fixture(scope="module")
def rows() -> Iterator[dict[str, str]]:
    """What was observed for each server."""
    seen: dict[str, str] = {}
    yield seen
    target = os.environ.get("FIELD_TABLE")
    if target:
        lines = [f"| {server} | {seen[server]} |\n" for server in SERVERS]
        Path(target).write_text("| server (WSGI) | `X_Forwarded_For` of a client |\n| --- | --- |\n" + "".join(lines))


def status(port: int, *fields: str) -> int:
    with socket.create_connection(("127.0.0.1", port), 5) as talk:
        talk.sendall("\r\n".join(["GET / HTTP/1.1", "Host: x", "Connection: close", *fields, "", ""]).encode())
        return int(talk.recv(4096).split(b" ")[1])


@pytest.mark.parametrize("server", SERVERS)
def test_no_client_chooses_its_address_or_the_start_says_so(server: str, rows: dict[str, str]) -> None:
    served, port = SERVERS[server], free_port()
    command = [word.replace("{port}", str(port)) for word in served.command]
    with running(command, port, cwd=APPS) as process:
        client = [status(port, "X-Forwarded-For: 203.0.113.9", f"X_Forwarded_For: 6.6.6.{at}") for at in range(12)]
        others = [status(port, f"X-Forwarded-For: 203.0.113.{at}") for at in range(20, 32)]
        said = process.text()
    chosen, dropped = client.count(200) > 5, 429 in others
    rows[server] = (
        "is joined with the proxy's field" if chosen else "dropped, and the proxy's field too" if dropped else "dropped"
    )
    assert chosen is served.merges
    assert dropped is served.drops
    assert (served.code or "RLK26") in said if served.code else "RLK26" not in said
    assert ("underscore" in said) is served.merges
