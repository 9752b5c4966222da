"""The same in Flask."""

import os

from flask import Flask

from ratelimit_kit import Policy, Rule
from ratelimit_kit.wsgi import RateLimitMiddleware

app = Flask(__name__)
policy = Policy(Rule("10/minute", key="ip"), store=os.environ.get("STORE_URL", "memory://"))
app.wsgi_app = RateLimitMiddleware(app.wsgi_app, policy)


@app.get("/")
def hello() -> str:
    return "Hello!"
