"""A FastAPI application whose limits hold over all of its workers.

    uvicorn --workers 2 fastapi_app:app

The whole application is limited by a policy, endpoints and a router by a dependency or a decorator.
"""

import os
from typing import Annotated

from fastapi import APIRouter, Body, Depends, FastAPI, HTTPException

from ratelimit_kit import Policy, Rule
from ratelimit_kit.asgi import HealthApplication
from ratelimit_kit.fastapi import RateLimit, install, ratelimit

policy = Policy(
    Rule("10/minute", key="ip", paths=["/", "/missing"], name="site"),
    store=os.environ.get("STORE_URL", "redis://127.0.0.1:6379/0"),
    exempt=["/healthz/*"],
)
app = FastAPI()
install(app, policy)
app.mount("/healthz", HealthApplication(policy))
api = APIRouter(prefix="/api", dependencies=[Depends(RateLimit("10/minute", key="ip", name="api"))])


@app.get("/")
@app.post("/")
async def home():
    return "Hello!"


@app.post("/search", dependencies=[Depends(RateLimit("10/minute", key="ip", name="search"))])
async def search(q: str = ""):
    return {"q": q, "found": []}


@app.post("/report")
@ratelimit("10/minute", key="ip", name="report")
def report(days: int = 1):
    """Runs in a thread because it is not a coroutine function; its limit is checked there too."""
    return {"days": days}


@app.post("/login")
@ratelimit("10/minute", key="ip", count=[401], name="failed-logins")
async def login(password: Annotated[str, Body(embed=True)]):
    """Ten wrong passwords a minute; right ones do not count."""
    if password != "open sesame":
        raise HTTPException(401, "Wrong password.")
    return "Welcome."


@api.get("/items")
async def items():
    return {"items": []}


@api.get("/items/{number}")
async def item(number: int):
    return {"item": number}


app.include_router(api)
