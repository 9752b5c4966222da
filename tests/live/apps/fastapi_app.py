"""The same mistake in FastAPI."""

import os

from fastapi import FastAPI

from ratelimit_kit import Policy, Rule
from ratelimit_kit.asgi import RateLimitMiddleware

policy = Policy(Rule("10/minute", key="ip"), store=os.environ.get("STORE_URL", "memory://"))
app = FastAPI()
app.add_middleware(RateLimitMiddleware, policy=policy)


@app.get("/")
def hello() -> str:
    return "Hello!"
