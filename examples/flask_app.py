"""A Flask application whose limits hold over all of its workers.

    gunicorn --workers 4 "flask_app:create_app()"

The whole site is limited by the rules of the setting RATELIMIT_KIT, single views and a blueprint by decorators.
"""

import os

from flask import Blueprint, Flask, request, session

from ratelimit_kit.flask import RateLimit, exempt, health, ratelimit

limits = RateLimit()
api = Blueprint("api", __name__, url_prefix="/api")


@api.get("/items")
def items():
    return {"items": []}


@api.get("/items/<int:number>")
def item(number):
    return {"item": number}


ratelimit("10/minute", key="ip", name="api")(api)


@ratelimit("10/minute", key="ip", name="search")
def search():
    return f"Nothing found for {request.args.get('q', '')!r}.\n"


@ratelimit("10/minute", key="ip", count="failures", name="failed-logins")
def login():
    """Ten wrong passwords a minute; right ones do not count."""
    if request.form.get("password") != "open sesame":
        return "Wrong password.\n", 401
    session["user"] = "Ali Baba"
    return "Welcome.\n"


@exempt
def webhook():
    return "Thank you.\n"


def home():
    return "Hello!\n"


def create_app():
    app = Flask(__name__)
    app.config["SECRET_KEY"] = os.environ.get("SECRET_KEY", "only for this example")
    app.config["RATELIMIT_KIT"] = {
        "store": os.environ.get("STORE_URL", "redis://127.0.0.1:6379/0"),
        "rules": [{"limits": "10/minute", "key": "ip", "paths": ["/", "/webhook", "/missing"], "name": "site"}],
    }
    limits.init_app(app)
    app.add_url_rule("/", view_func=home, methods=["GET", "POST"])
    app.add_url_rule("/search", view_func=search, methods=["GET", "POST"])
    app.add_url_rule("/login", view_func=login, methods=["POST"])
    app.add_url_rule("/webhook", view_func=webhook, methods=["POST"])
    app.add_url_rule("/healthz", view_func=health)
    app.register_blueprint(api)
    return app
