"""An ASGI application behind a rate limit.

    uvicorn --workers 2 asgi_app:application

Each address may send 10 requests in any 60 seconds, over both workers.
"""

import os

from ratelimit_kit import Policy, Rule
from ratelimit_kit.asgi import RateLimitMiddleware


async def hello(scope, receive, send):
    if scope["type"] != "http":
        return
    await send(
        {
            "type": "http.response.start",
            "status": 200,
            "headers": [(b"content-type", b"text/plain; charset=utf-8")],
        }
    )
    await send({"type": "http.response.body", "body": b"Hello!\n"})


policy = Policy(
    Rule("10/minute", key="ip", name="requests"),
    store=os.environ.get("STORE_URL", "redis://127.0.0.1:6379/0"),
    exempt=["/healthz"],
)
application = RateLimitMiddleware(hello, policy)
