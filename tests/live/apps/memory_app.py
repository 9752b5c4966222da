"""The mistake that the guard exists for: a per-process store. Served by the guard's tests."""

import os

from given_store import given_store

from ratelimit_kit import Policy, Rule
from ratelimit_kit.asgi import HealthApplication as ASGIHealthApplication
from ratelimit_kit.asgi import RateLimitMiddleware as ASGIMiddleware
from ratelimit_kit.wsgi import HealthApplication, RateLimitMiddleware


def make_policy():
    return Policy(
        Rule(os.environ.get("LIMIT", "10/minute"), key="ip"),
        store=given_store(),
        exempt=["/healthz"],
        on_unsafe=os.environ.get("ON_UNSAFE", "shutdown"),
        allow_per_process="ALLOW_PER_PROCESS" in os.environ,
    )


def hello(environ, start_response):
    if environ["PATH_INFO"] == "/healthz":
        return _health(environ, start_response)
    start_response("200 OK", [("Content-Type", "text/plain"), ("X-Process", str(os.getpid()))])
    return [b"Hello!\n"]


async def ahello(scope, receive, send):
    if scope["type"] == "lifespan":
        await _live(receive, send)
    elif scope["path"] == "/healthz":
        await _ahealth(scope, receive, send)
    else:
        headers = [(b"x-process", str(os.getpid()).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"Hello!\n"})


async def _live(receive, send):
    while True:
        message = await receive()
        await send({"type": message["type"] + ".complete"})
        if message["type"] == "lifespan.shutdown":
            return


def application(environ, start_response):
    return _wsgi(environ, start_response)


_policy = make_policy()
_health = HealthApplication(_policy)
_wsgi = RateLimitMiddleware(hello, _policy)
_apolicy = make_policy()
_ahealth = ASGIHealthApplication(_apolicy)
asgi_application = ASGIMiddleware(ahello, _apolicy)
