"""A Litestar application inside the ASGI middleware, as any ASGI framework's can be.

uvicorn --workers 2 litestar_app:application
"""

import os

from litestar import Litestar, get, post

from ratelimit_kit import Policy, Rule
from ratelimit_kit.asgi import RateLimitMiddleware


@get("/")
async def home() -> str:
    return "Hello!\n"


@post("/contact", status_code=200)
async def contact() -> str:
    return "Thank you.\n"


policy = Policy(
    Rule("10/minute", key="ip", paths=["/contact"], methods=["POST"], name="contact"),
    store=os.environ.get("STORE_URL", "redis://127.0.0.1:6379/0"),
)
application = RateLimitMiddleware(Litestar([home, contact]), policy)
