"""The same mistake with a Limiter, which is built when the module is imported."""

from fastapi import FastAPI

from ratelimit_kit import ratelimit

app = FastAPI()


@app.get("/")
@ratelimit("10/minute")
def hello() -> str:
    return "Hello!"
