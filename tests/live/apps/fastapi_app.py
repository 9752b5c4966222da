"""The same mistake in FastAPI."""

from fastapi import FastAPI
from given_store import given_store

from ratelimit_kit import Policy, Rule
from ratelimit_kit.asgi import RateLimitMiddleware

policy = Policy(Rule("10/minute", key="ip"), store=given_store())
app = FastAPI()
app.add_middleware(RateLimitMiddleware, policy=policy)


@app.get("/")
def hello() -> str:
    return "Hello!"
