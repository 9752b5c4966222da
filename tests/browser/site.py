"""A site of the tests' own, served by threads of this process on a free loopback port.

Its limits are real: our WSGI middleware on a memory store, counted by path, so that each test has a
counter of its own. What arrived, when, is kept. /canned answers whatever its query says.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any, NamedTuple
from urllib.parse import parse_qs
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from ratelimit_kit import Policy, Rule
from ratelimit_kit.wsgi import RateLimitMiddleware

PAGES = Path(__file__).parent / "pages"
TYPES = {".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8"}
STRICT = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)


class Arrival(NamedTuple):
    at: float
    method: str
    path: str
    body: bytes


@dataclass
class Site:
    """The server's address and its diary."""

    url: str = ""
    arrivals: list[Arrival] = field(default_factory=list)
    early_ran: threading.Event = field(default_factory=threading.Event)

    def at(self, path: str) -> list[Arrival]:
        """What arrived at a path, in order."""
        return [arrival for arrival in self.arrivals if arrival.path == path]

    def __call__(self, environ: Any, start_response: Any) -> Iterable[bytes]:
        path, query = environ["PATH_INFO"], parse_qs(environ["QUERY_STRING"])
        if path.startswith("/canned"):
            return self._canned(environ, start_response, query)
        if path == "/early":
            start_response("200 OK", [("Content-Type", TYPES[".html"])])
            return self._early()
        if path == "/early-ran":
            self.early_ran.set()
        if path.startswith("/page/"):
            return _file(start_response, path.removeprefix("/page/"), strict="strict" in query)
        start_response("200 OK", [("Content-Type", "text/plain; charset=utf-8")])
        return [b"admitted ", environ["ratelimit.body"]]

    def _early(self) -> Iterator[bytes]:
        """A head whose script runs before the body is sent."""
        head = (PAGES / "early.html").read_bytes()
        yield head
        assert self.early_ran.wait(10)
        yield b"<body><p>Now there is a body.</p></body></html>"

    def _canned(self, environ: Any, start_response: Any, query: dict[str, list[str]]) -> Iterable[bytes]:
        """Answer `status` the first `times` requests of this path, with fields `h` and `body`; then 200."""
        times = int(query.get("times", ["999"])[0])
        refused = len(self.at(environ["PATH_INFO"])) <= times
        fields = [tuple(line.split(": ", 1)) for line in query.get("h", [])]
        if "date" in query:
            fields.append(("Retry-After", formatdate(int(time.time()) + float(query["date"][0]), usegmt=True)))
        status = query.get("status", ["429"])[0] if refused else "200"
        start_response(f"{status} As Asked", fields if refused else [])
        return [query.get("body", [""])[0].encode() if refused else b"admitted"]


def _file(start_response: Any, name: str, *, strict: bool) -> Iterable[bytes]:
    path = PAGES / Path(name).name
    if not path.is_file():
        start_response("404 Not Found", [])
        return []
    fields = [("Content-Type", TYPES[path.suffix])]
    start_response("200 OK", [*fields, ("Content-Security-Policy", STRICT)] if strict else fields)
    return [path.read_bytes()]


def _recording(site: Site, application: Callable[..., Iterable[bytes]]) -> Callable[..., Iterable[bytes]]:
    def record(environ: Any, start_response: Any) -> Iterable[bytes]:
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        site.arrivals.append(Arrival(time.monotonic(), environ["REQUEST_METHOD"], environ["PATH_INFO"], body))
        return application({**environ, "ratelimit.body": body}, start_response)

    return record


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that closes early is no failure of the test."""


class _Quiet(WSGIRequestHandler):
    def log_message(self, *args: Any) -> None:
        """The diary knows."""


@contextmanager
def serving() -> Iterator[Site]:
    site = Site()
    policy = Policy(
        Rule("1/3 seconds", paths=["/login/*"], key=lambda request: request.path, name="login"),
        Rule("5/1 second", paths=["/busy/*"], key=lambda request: request.path, name="busy"),
        store="memory://",
        workers=1,
    )
    limited = RateLimitMiddleware(site, policy, assets="/ratelimit-kit")
    with make_server("127.0.0.1", 0, _recording(site, limited), _Server, _Quiet) as server:
        site.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield site
        finally:
            server.shutdown()
            thread.join()
