"""The application of `draw_picture.py`: it tells which worker has answered, admitted or not."""

import os

from ratelimit_kit import Policy, Reply, Rule
from ratelimit_kit.wsgi import RateLimitMiddleware


def hello(_environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("X-Worker", str(os.getpid()))])
    return [b"Hello!\n"]


def refusal(denial):
    return Reply(denial.detail, headers=[("X-Worker", str(os.getpid()))])


application = RateLimitMiddleware(
    hello,
    Policy(Rule("10/5 seconds", key="ip"), store=os.environ["STORE_URL"], denial=refusal, exempt=["/ready"]),
)
