"""The same mistake with a Limiter, which is built when the module is imported."""

from fastapi import FastAPI, HTTPException
from given_store import given_store

from ratelimit_kit import Limiter

app = FastAPI()
limiter = Limiter("10/minute", store=given_store())


@app.get("/")
def hello() -> str:
    if not limiter.hit("everybody"):
        raise HTTPException(429)
    return "Hello!"
