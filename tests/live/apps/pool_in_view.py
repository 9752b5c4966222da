"""A site whose view starts a pool of helpers, which inherit its listening socket and use the same limiter."""

import json
import multiprocessing
import os

from given_store import given_store

from ratelimit_kit import Limiter

limiter = Limiter("1000/minute", store=given_store(), name="inner")
pools = []


def job(number: int) -> bool:
    """What a helper does."""
    return limiter.hit("key").allowed


def application(environ, start_response):
    """Have helpers decide before the server itself does, then decide."""
    if not pools:
        pools.append(multiprocessing.get_context("fork").Pool(2))
        pools[0].map(job, range(20), chunksize=1)
    body = json.dumps({"allowed": limiter.hit("visitor").allowed, "pid": os.getpid()}).encode()
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
