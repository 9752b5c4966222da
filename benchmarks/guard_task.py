"""A Celery task that measures what the guard costs the worker that runs it; BROKER_URL is a Redis."""

import os

from celery import Celery

from benchmarks import guard_cost

app = Celery("benchmarks", broker=os.environ["BROKER_URL"], backend=os.environ["BROKER_URL"])


@app.task
def measure() -> dict[str, float]:
    """The measurement, in seconds."""
    return guard_cost.measured()
