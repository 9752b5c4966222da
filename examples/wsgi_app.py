"""A WSGI application behind a rate limit.

    gunicorn --workers 4 wsgi_app:application

Each address may send 10 requests in any 60 seconds, over all four workers.
"""

import os

from ratelimit_kit import Policy, Rule
from ratelimit_kit.wsgi import RateLimitMiddleware


def hello(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain; charset=utf-8")])
    return [b"Hello!\n"]


policy = Policy(
    Rule("10/minute", key="ip", name="requests"),
    store=os.environ.get("STORE_URL", "redis://127.0.0.1:6379/0"),
    exempt=["/healthz"],
)
application = RateLimitMiddleware(hello, policy)
