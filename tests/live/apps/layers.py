"""One rule in three layers: a middleware around Django, Django's own, and a decorator. And so in Flask and FastAPI.

gunicorn layers:application        uvicorn layers:asgi_application
"""

import os

from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from fastapi import Depends, FastAPI
from flask import Flask

import django
from django.urls import path
from ratelimit_kit import Policy, Rule
from ratelimit_kit.asgi import RateLimitMiddleware as ASGIMiddleware
from ratelimit_kit.fastapi import RateLimit as Dependency
from ratelimit_kit.fastapi import install
from ratelimit_kit.fastapi import ratelimit as limit_endpoint
from ratelimit_kit.flask import RateLimit
from ratelimit_kit.flask import ratelimit as limit_view
from ratelimit_kit.wsgi import RateLimitMiddleware

STORE = os.environ["STORE_URL"]
SITE = {"limits": "10/minute", "key": "ip", "name": "site"}


def make_policy(name="web"):
    return Policy(Rule("10/minute", key="ip", name="site"), store=STORE, name=name)


settings.configure(
    SECRET_KEY="only for tests",
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    USE_TZ=True,
    INSTALLED_APPS=["ratelimit_kit"],
    MIDDLEWARE=["ratelimit_kit.django.RateLimitMiddleware"],
    RATELIMIT_KIT={"store": STORE, "rules": [SITE]},
)
django.setup()

from ratelimit_kit.django import ratelimit  # noqa: E402 - as in a project: after the settings


@ratelimit("10/minute", key="ip", name="site")
def home(request):
    return HttpResponse("Hello!")


@ratelimit("10/minute", key="ip", name="site")
async def ahome(request):
    return HttpResponse("Hello!")


urlpatterns = [path("django", home), path("adjango", ahome)]


def make_flask():
    app = Flask("layers")
    RateLimit(app, make_policy("flask"))

    @app.get("/flask")
    @limit_view("10/minute", key="ip", name="site")
    def flask_home():
        return "Hello!"

    app.wsgi_app = RateLimitMiddleware(app.wsgi_app, make_policy("flask"))
    return app


def make_fastapi():
    app = FastAPI()
    install(app, make_policy("fastapi"))

    @app.get("/fastapi", dependencies=[Depends(Dependency("10/minute", key="ip", name="site"))])
    @limit_endpoint("10/minute", key="ip", name="site")
    def fastapi_home():
        return "Hello!"

    return ASGIMiddleware(app, make_policy("fastapi"))


_flask, _fastapi = make_flask(), make_fastapi()
_django = RateLimitMiddleware(get_wsgi_application(), make_policy())
_asgi_django = ASGIMiddleware(get_asgi_application(), make_policy())


def application(environ, start_response):
    return (_flask if environ["PATH_INFO"] == "/flask" else _django)(environ, start_response)


async def asgi_application(scope, receive, send):
    await (_fastapi if scope["path"] == "/fastapi" else _asgi_django)(scope, receive, send)
