"""A WSGI application behind one rule; the environment says which: LIMIT, STORE_URL, ALLOW_PER_PROCESS, HEADERS, DELAY."""

import os
import time

from ratelimit_kit import Policy, Rule
from ratelimit_kit.wsgi import RateLimitMiddleware

DELAY = float(os.environ.get("DELAY", "0"))


def hello(environ, start_response):
    time.sleep(DELAY)  # keeps this worker busy, so that the others are met too
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"Hello!\n"]


policy = Policy(
    Rule(os.environ.get("LIMIT", "10/minute"), key="ip", name="site"),
    store=os.environ.get("STORE_URL", "memory://"),
    headers=os.environ.get("HEADERS", "draft11"),
    allow_per_process=bool(os.environ.get("ALLOW_PER_PROCESS")),
)
application = RateLimitMiddleware(hello, policy)
