"""The same site with ratelimit-kit."""

from fastapi import FastAPI

from ratelimit_kit import Policy
from ratelimit_kit.fastapi import install, ratelimit

app = FastAPI()
install(app, Policy(store="redis://127.0.0.1:6379/0"))


@app.post("/login")
@ratelimit("5/minute", key="ip")
async def login():
    return "welcome"


@app.get("/healthz")
async def healthz():
    return "ok"
