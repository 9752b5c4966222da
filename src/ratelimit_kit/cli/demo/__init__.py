"""`ratelimit-kit demo`: a page that shows limits at work, served by this process on loopback.

It uses nothing but the standard library and the library's own WSGI middleware on a memory store.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from importlib.resources import files
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from ratelimit_kit.cli.exits import FAILED
from ratelimit_kit.cli.terminal import complain
from ratelimit_kit.core.validation import read_digits
from ratelimit_kit.stores.memory.store import MemoryStore
from ratelimit_kit.web.policy.policy import Policy
from ratelimit_kit.web.rules.rule import Rule
from ratelimit_kit.wsgi import RateLimitMiddleware

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

FILES = {
    "/": ("page.html", "text/html; charset=utf-8"),
    "/demo.css": ("demo.css", "text/css; charset=utf-8"),
    "/demo.js": ("demo.js", "text/javascript; charset=utf-8"),
}

HITS = ("/hit/sliding-window", "/hit/token-bucket", "/hit/fixed-window")

RULES = (
    Rule("10/10 seconds", paths=["/hit/sliding-window"], name="sliding-window"),
    Rule("token-bucket: 1/second burst 10", paths=["/hit/token-bucket"], name="token-bucket"),
    Rule("fixed-window: 10/minute", paths=["/hit/fixed-window"], name="fixed-window"),
    Rule("3/5 seconds", paths=["/login"], methods=["POST"], name="login"),
    Rule("2/4 seconds", paths=["/news"], name="news"),
)

PASSWORD = "sesame"  # shown on the page


def add_to(commands: Any) -> None:
    """Add the subcommand to a parser."""
    parser = commands.add_parser("demo", help="serve a page that shows limits at work", description=__doc__)
    parser.add_argument("--port", type=_port, default=0, help="loopback port (default: a free one)")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Serve until interrupted."""
    try:
        server = make_server("127.0.0.1", options.port, demo_application(), _Server, _Quiet)
    except OSError as error:
        complain(f"cannot listen on 127.0.0.1:{options.port}: {error.strerror}. Leave out --port for a free one.")
        return FAILED
    print(f"The demo is at http://127.0.0.1:{server.server_port}/ (Ctrl+C stops it)", flush=True)
    with server:
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print()
    return 0


def demo_application() -> RateLimitMiddleware:
    """The page and its limited paths; one process, whatever the environment says about workers."""
    return RateLimitMiddleware(_application, Policy(*RULES, store=MemoryStore(), workers=1), assets="/ratelimit-kit")


def _application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    path = environ["PATH_INFO"]
    if path in FILES:
        name, content_type = FILES[path]
        start_response("200 OK", [("Content-Type", content_type), ("Cache-Control", "no-cache")])
        return [files(__name__).joinpath(name).read_bytes()]
    status, text = _said(path, environ)
    start_response(status, [("Content-Type", "text/plain; charset=utf-8"), ("Cache-Control", "no-store")])
    return [text.encode()]


def _said(path: str, environ: WSGIEnvironment) -> tuple[str, str]:
    if path in HITS:
        return "200 OK", "admitted\n"
    if path == "/news":
        return "200 OK", "No news is good news"
    if path == "/login":
        form = parse_qs(environ["wsgi.input"].read(_length(environ)).decode("utf-8", "replace"))
        known = form.get("password") == [PASSWORD]
        return ("200 OK", "signed in\n") if known else ("403 Forbidden", "wrong password\n")
    return "404 Not Found", "There is nothing here.\n"


def _length(environ: WSGIEnvironment) -> int:
    text = environ.get("CONTENT_LENGTH") or ""
    return min(read_digits(text) or 0, 4096)


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Log nothing: the page shows every request."""


def _port(text: str) -> int:
    port = read_digits(text)
    if port is not None and port < 65_536:
        return port
    raise argparse.ArgumentTypeError(f"{text!r} is not a port: give a number from 0 to 65535")
