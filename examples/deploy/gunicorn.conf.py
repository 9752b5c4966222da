"""Four workers, and the folder where they store the metrics that Prometheus reads together."""

import os
from pathlib import Path

from prometheus_client import multiprocess

bind = os.environ.get("BIND", "127.0.0.1:8000")
workers = int(os.environ.get("WEB_CONCURRENCY", "4"))
accesslog = "-"

FOLDER = os.environ.get("PROMETHEUS_MULTIPROC_DIR")


def on_starting(server):
    """Begin with an empty folder, without the counts of workers of an earlier run."""
    if FOLDER:
        Path(FOLDER).mkdir(parents=True, exist_ok=True)
        for file in Path(FOLDER).glob("*.db"):
            file.unlink()


def child_exit(server, worker):
    if FOLDER:
        multiprocess.mark_process_dead(worker.pid)
