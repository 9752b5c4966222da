"""Views whose bodies are hard to keep whole, and views that raise; each with a limit around it and without.

    gunicorn bodies:application        uvicorn bodies:asgi_application

The path is /{framework}/{bare or limited}/{view}. Views that raise leave a byte in the file CALLS for each call.
"""

import os
from pathlib import Path

from flask import Flask, send_file, stream_with_context
from starlette.applications import Starlette
from starlette.responses import FileResponse, StreamingResponse
from starlette.routing import Route

from ratelimit_kit import Policy, Rule
from ratelimit_kit.asgi import RateLimitMiddleware as ASGIMiddleware
from ratelimit_kit.fastapi import install, ratelimit
from ratelimit_kit.flask import RateLimit
from ratelimit_kit.flask import ratelimit as flask_ratelimit
from ratelimit_kit.wsgi import RateLimitMiddleware

FILE = Path(os.environ["BODY_FILE"])


def note_call():
    with Path(os.environ["CALLS"]).open("ab") as calls:
        calls.write(b".")


def make_policy(name):
    rule = Rule("1000/minute", key="ip", count="successes", name="all")
    return Policy(rule, store=os.environ["STORE_URL"], name=name)


def lines():
    for number in range(5):
        yield f"line {number}\n".encode()


class Closing:
    """An iterable that has to be closed."""

    def __init__(self, iterable):
        self._iterable = iter(iterable)

    def __iter__(self):
        return self._iterable

    def close(self):
        note_call()


def plain(environ, start_response):
    view = environ["PATH_INFO"].rpartition("/")[2]
    if view == "raise":
        note_call()
        raise ValueError("the application's own")
    if view == "late":
        return late(start_response)
    if view == "raise-late":
        return raising_late()
    write = start_response("200 OK", [("Content-Type", "text/plain"), ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")])
    if view == "write":
        write(b"written, ")
        return [b"and returned\n"]
    if view == "file":
        return environ["wsgi.file_wrapper"](FILE.open("rb"), 4096)
    if view == "raise-midway":
        return raising_midway()
    return Closing(lines()) if view == "closing" else {"generator": lines, "empty": list}[view]()


def late(start_response):
    """A generator function as application: it starts its response when it is first asked for a part."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    yield b"late\n"


def raising_late():
    note_call()
    raise ValueError("the application's own")
    yield b""


def raising_midway():
    note_call()
    yield b"half of it\n"
    raise ValueError("the application's own")


def make_flask(*, limited):
    app = Flask("bodies")
    guard = flask_ratelimit("1000/minute", key="ip") if limited else lambda view: view
    if limited:
        RateLimit(app, make_policy("flask"))

    @app.get("/file")
    @guard
    def file():
        return send_file(FILE, mimetype="application/octet-stream")

    @app.get("/stream")
    @guard
    def stream():
        return stream_with_context(lines()), {"Content-Type": "text/plain"}

    @app.get("/raise")
    @guard
    def failing():
        note_call()
        raise ValueError("the application's own")

    return app


async def numbered():
    for number in range(5):
        yield f"id: {number}\ndata: {'x' * 1000}\n\n"


async def asgi_plain(scope, receive, send):
    view = scope["path"].rpartition("/")[2]
    if view == "raise":
        note_call()
        raise ValueError("the application's own")
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": b"one, ", "more_body": True})
    if view == "raise-midway":
        note_call()
        raise ValueError("the application's own")
    await send({"type": "http.response.body", "body": b"", "more_body": True})
    await send({"type": "http.response.body", "body": b"two\n", "more_body": False})


def make_starlette(*, limited):
    guard = ratelimit("1000/minute", key="ip") if limited else lambda view: view

    @guard
    async def file(request):
        return FileResponse(FILE, media_type="application/octet-stream")

    @guard
    async def events(request):
        return StreamingResponse(numbered(), media_type="text/event-stream")

    @guard
    def stream(request):
        return StreamingResponse(lines(), media_type="text/plain")

    @guard
    async def failing(request):
        note_call()
        raise ValueError("the application's own")

    views = {"file": file, "events": events, "stream": stream, "raise": failing}
    app = Starlette(routes=[Route(f"/{name}", view) for name, view in views.items()])
    if limited:
        install(app, make_policy("starlette"))
    return app


WSGI = {
    ("plain", "bare"): plain,
    ("plain", "limited"): RateLimitMiddleware(plain, make_policy("plain")),
    ("flask", "bare"): make_flask(limited=False),
    ("flask", "limited"): make_flask(limited=True),
}
ASGI = {
    ("plain", "bare"): asgi_plain,
    ("plain", "limited"): ASGIMiddleware(asgi_plain, make_policy("plain")),
    ("starlette", "bare"): make_starlette(limited=False),
    ("starlette", "limited"): make_starlette(limited=True),
}


def application(environ, start_response):
    _, framework, kind, view = environ["PATH_INFO"].split("/")
    return WSGI[framework, kind]({**environ, "PATH_INFO": f"/{view}"}, start_response)


async def asgi_application(scope, receive, send):
    _, framework, kind, view = scope["path"].split("/")
    await ASGI[framework, kind]({**scope, "path": f"/{view}"}, receive, send)
