"""Starlette's CORS middleware around the rate limit and within it, and one that exposes fields by itself.

uvicorn cors:application
"""

import os

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from ratelimit_kit import Policy, Rule
from ratelimit_kit.fastapi import install

CORS = {"allow_origins": ["https://shop.example"], "allow_methods": ["*"], "allow_headers": ["*"]}


def make_app(name, *, around, **cors):
    app = FastAPI()
    policy = Policy(Rule("2/minute", key="ip", name="site"), store=os.environ["STORE_URL"], name=name)
    if around:
        install(app, policy)
        app.add_middleware(CORSMiddleware, **CORS, **cors)
    else:
        app.add_middleware(CORSMiddleware, **CORS, **cors)
        install(app, policy)

    @app.get("/{path:path}")
    def hello(path: str):
        return path

    return app


APPS = {
    "around": make_app("around", around=True),
    "within": make_app("within", around=False),
    "exposing": make_app("exposing", around=True, expose_headers=["X-Total"]),
}


async def application(scope, receive, send):
    await APPS[scope["path"].split("/")[1]](scope, receive, send)
