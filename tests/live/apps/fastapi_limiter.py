"""The same mistake with a Limiter, which is built when the module is imported."""

import os

from fastapi import FastAPI, HTTPException

from ratelimit_kit import Limiter

app = FastAPI()
limiter = Limiter("10/minute", store=os.environ.get("STORE_URL", "memory://"))


@app.get("/")
def hello() -> str:
    if not limiter.hit("everybody"):
        raise HTTPException(429)
    return "Hello!"
