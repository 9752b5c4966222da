"""The same site with ratelimit-kit."""

from flask import Flask

from ratelimit_kit import Policy, Rule
from ratelimit_kit.flask import RateLimit, exempt, ratelimit

app = Flask(__name__)
RateLimit(app, Policy(Rule("100 per minute", key="ip", name="site"), store="redis://127.0.0.1:6379/0"))


@app.post("/login")
@ratelimit("5 per minute", key="ip", name="login")
def login():
    return "welcome"


@app.get("/healthz")
@exempt
def healthz():
    return "ok"
