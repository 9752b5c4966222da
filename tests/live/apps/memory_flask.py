"""A Flask application with a store in memory; as a program it serves itself by the server that its argument names."""

import sys

from flask import Flask

from ratelimit_kit import Policy, Rule
from ratelimit_kit.flask import RateLimit

application = Flask(__name__)
RateLimit(application, Policy(Rule("10/minute", key="ip"), store="memory://"))


@application.get("/")
def hello() -> str:
    return "Hello!"


if __name__ == "__main__":
    if sys.argv[1] == "waitress":
        from waitress import serve

        serve(application, port=int(sys.argv[2]))
    else:
        import uvicorn

        uvicorn.run(application, interface="wsgi", port=int(sys.argv[2]))
