"""A Celery application whose tasks are limited: one per process, which is what its author wants, and one by its queue."""

import os

from celery import Celery

from ratelimit_kit import Limiter, ratelimit

app = Celery("tasks", broker=os.environ["BROKER_URL"], backend=os.environ["BROKER_URL"])
limiter = Limiter("3/minute")


@app.task
def limited() -> bool:
    return limiter.hit("task").allowed


@app.task
@ratelimit("2/minute", store=os.environ["BROKER_URL"])
def refused() -> str:
    return "done"
