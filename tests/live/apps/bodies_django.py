"""The same in Django, with the middleware and a decorator where LIMITED is set.

gunicorn bodies_django:application        uvicorn bodies_django:asgi_application
"""

import os
from pathlib import Path

from django.conf import settings
from django.core.asgi import get_asgi_application
from django.core.wsgi import get_wsgi_application
from django.http import FileResponse, StreamingHttpResponse

import django
from django.urls import path

LIMITED = bool(os.environ["LIMITED"])
FILE = Path(os.environ["BODY_FILE"])

settings.configure(
    SECRET_KEY="only for tests",
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    USE_TZ=True,
    INSTALLED_APPS=["ratelimit_kit"],
    MIDDLEWARE=["ratelimit_kit.django.RateLimitMiddleware"] if LIMITED else [],
    RATELIMIT_KIT={
        "store": os.environ["STORE_URL"],
        "rules": [{"limits": "1000/minute", "key": "ip", "count": "successes", "name": "all"}],
    },
)
django.setup()

from ratelimit_kit.django import ratelimit  # noqa: E402 - as in a project: after the settings

guard = ratelimit("1000/minute", key="ip", name="own") if LIMITED else lambda view: view


def note_call():
    with Path(os.environ["CALLS"]).open("ab") as calls:
        calls.write(b".")


@guard
def file(request):
    return FileResponse(FILE.open("rb"), content_type="application/octet-stream")


@guard
def stream(request):
    return StreamingHttpResponse((f"line {number}\n" for number in range(5)), content_type="text/plain")


@guard
async def astream(request):
    async def lines():
        for number in range(5):
            yield f"line {number}\n"

    return StreamingHttpResponse(lines(), content_type="text/plain")


@guard
def failing(request):
    note_call()
    raise ValueError("the application's own")


@guard
async def afailing(request):
    note_call()
    raise ValueError("the application's own")


urlpatterns = [
    path("file", file),
    path("stream", stream),
    path("astream", astream),
    path("raise", failing),
    path("araise", afailing),
]
application = get_wsgi_application()
asgi_application = get_asgi_application()
