"""What gunicorn's dirty workers run beside its HTTP workers, with the limiter of the same module; and a site that asks it."""

import json

from given_store import given_store
from gunicorn.dirty import get_dirty_client
from gunicorn.dirty.app import DirtyApp

from ratelimit_kit import Limiter

limiter = Limiter("1000/minute", store=given_store(), name="dirty")


class Model(DirtyApp):
    """Decides in its own process."""

    def predict(self):
        return limiter.hit("model").allowed


def application(environ, start_response):
    """Decide here, and in a dirty worker."""
    here = limiter.hit("visitor").allowed
    there = get_dirty_client().execute("dirty:Model", "predict") if environ["PATH_INFO"] == "/model" else None
    body = json.dumps([here, there]).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
