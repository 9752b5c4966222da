"""Everything that a policy reads of a request, at once: gunicorn odd:application, uvicorn odd:asgi_application."""

import os

from ratelimit_kit import Policy, Rule
from ratelimit_kit.asgi import RateLimitMiddleware as ASGIMiddleware
from ratelimit_kit.wsgi import RateLimitMiddleware

policy = Policy(
    Rule("1000/minute", key=["ip", "header:x-client", "cookie:session", "path:2"], paths=["/*"], name="all"),
    Rule("1000/minute", key=lambda request: f"{request.path} {request.headers.get('x-client')}", name="callable"),
    store=os.environ["STORE_URL"],
    trusted_proxies=["127.0.0.0/8"],
    client_header=os.environ.get("CLIENT_HEADER", "x-forwarded-for"),
)


def hello(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"Hello!\n"]


async def ahello(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": b"Hello!\n"})


application = RateLimitMiddleware(hello, policy)
asgi_application = ASGIMiddleware(ahello, policy)
