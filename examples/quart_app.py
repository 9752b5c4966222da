"""A Quart application inside the ASGI middleware.

    hypercorn --workers 2 quart_app:app

Only `asgi_app` is wrapped, so that `app` stays the object that Quart's tools expect.
"""

import os

from quart import Quart

from ratelimit_kit import Policy, Rule
from ratelimit_kit.asgi import RateLimitMiddleware

app = Quart(__name__)
policy = Policy(
    Rule("10/minute", key="ip", paths=["/contact"], methods=["POST"], name="contact"),
    store=os.environ.get("STORE_URL", "redis://127.0.0.1:6379/0"),
)
app.asgi_app = RateLimitMiddleware(app.asgi_app, policy)


@app.post("/contact")
async def contact():
    return "Thank you.\n"
