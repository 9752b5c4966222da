"""A site whose policy is a file: gunicorn --workers 4 reloading:application."""

import os

from ratelimit_kit import Policy
from ratelimit_kit.wsgi import RateLimitMiddleware


def hello(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(os.getpid()).encode()]


application = RateLimitMiddleware(hello, Policy.from_file(os.environ["POLICY_FILE"]))
