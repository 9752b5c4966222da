"""The mistake that the guard exists for: a per-process store. Served by the guard's tests."""

from ratelimit_kit import Policy, Rule
from ratelimit_kit.asgi import RateLimitMiddleware as ASGIMiddleware
from ratelimit_kit.wsgi import RateLimitMiddleware


def hello(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"Hello!\n"]


async def ahello(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"Hello!\n"})


def application(environ, start_response):
    return _wsgi(environ, start_response)


_wsgi = RateLimitMiddleware(hello, Policy(Rule("10/minute", key="ip"), store="memory://"))
asgi_application = ASGIMiddleware(ahello, Policy(Rule("10/minute", key="ip"), store="memory://"))
