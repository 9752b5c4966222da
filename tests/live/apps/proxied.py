"""A site behind a proxy on this machine; with an argument it serves itself, by cheroot or waitress."""

from __future__ import annotations

import sys

from ratelimit_kit import Policy, Rule
from ratelimit_kit.wsgi import RateLimitMiddleware


def answer(environ, start_response):
    start_response("200 OK", [("Content-Length", "2")])
    return [b"in"]


if __name__ == "__main__":
    sys.modules["proxied"] = sys.modules["__main__"]
    if sys.argv[1] == "cheroot":
        from cheroot import wsgi
    else:
        import waitress

application = RateLimitMiddleware(
    answer, Policy(Rule("5/minute", key="ip"), store="memory://", trusted_proxies=["127.0.0.1"])
)

if __name__ == "__main__":
    port = int(sys.argv[2])
    if sys.argv[1] == "cheroot":
        wsgi.Server(("127.0.0.1", port), application).start()
    else:
        waitress.serve(application, host="127.0.0.1", port=port)
