"""The same in Flask."""

from flask import Flask
from given_store import given_store

from ratelimit_kit import Policy, Rule
from ratelimit_kit.wsgi import RateLimitMiddleware

app = Flask(__name__)
policy = Policy(Rule("10/minute", key="ip"), store=given_store())
app.wsgi_app = RateLimitMiddleware(app.wsgi_app, policy)


@app.get("/")
def hello() -> str:
    return "Hello!"
