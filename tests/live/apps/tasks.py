"""A Celery application whose tasks are limited per process, which is what its author wants."""

import os

from celery import Celery

from ratelimit_kit import Limiter

app = Celery("tasks", broker=os.environ["BROKER_URL"], backend=os.environ["BROKER_URL"])
limiter = Limiter("3/minute")


@app.task
def limited() -> bool:
    return limiter.hit("task").allowed
