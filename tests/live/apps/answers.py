"""One application behind four policies, one for each family of fields: the first segment of the path chooses it.

    gunicorn answers:application        uvicorn answers:asgi_application

Time stands still in the store, so that every answer is known to the byte.
"""

import os

from ratelimit_kit import Policy, RedisStore, Rule
from ratelimit_kit.asgi import RateLimitMiddleware as ASGIMiddleware
from ratelimit_kit.web.response.headers import FAMILIES
from ratelimit_kit.wsgi import RateLimitMiddleware

PAGES = {
    "page": ("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "7")], b"Hello!\n"),
    "shared": ("200 OK", [("Cache-Control", "public, max-age=60"), ("Content-Length", "7")], b"Hello!\n"),
    "aged": ("200 OK", [("Age", "5"), ("Content-Length", "7")], b"Hello!\n"),
    "moved": ("302 Found", [("Location", "/elsewhere"), ("Content-Length", "0")], b""),
    "unchanged": ("304 Not Modified", [("ETag", '"1"')], b""),
}


def make_policy(family):
    return Policy(
        Rule("3/minute", key="header:x-client", name="burst"),
        Rule("5/day", key="header:x-client", name="daily"),
        store=RedisStore(os.environ["STORE_URL"], clock=lambda: 1_800_000_000_000_000_000),
        headers=family,
        on_outage="deny",
        name=family,
    )


def page_of(path):
    return PAGES[path.rpartition("/")[2]]


def hello(environ, start_response):
    status, headers, body = page_of(environ["PATH_INFO"])
    start_response(status, headers)
    return [b"" if environ["REQUEST_METHOD"] == "HEAD" else body]


async def ahello(scope, receive, send):
    status, headers, body = page_of(scope["path"])
    raw = [(name.lower().encode(), value.encode()) for name, value in headers]
    await send({"type": "http.response.start", "status": int(status[:3]), "headers": raw})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})


_wsgi = {family: RateLimitMiddleware(hello, make_policy(family)) for family in FAMILIES}
_asgi = {family: ASGIMiddleware(ahello, make_policy(family)) for family in FAMILIES}


def application(environ, start_response):
    return _wsgi[environ["PATH_INFO"].split("/")[1]](environ, start_response)


async def asgi_application(scope, receive, send):
    await _asgi[scope["path"].split("/")[1]](scope, receive, send)
