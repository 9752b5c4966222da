"""Start-up checks: what must not run is refused before the first request.

A refusal is an error that is also a SystemExit, raised by `refuse`: the server ends instead of
respawning workers for ever, and its message is printed once, by the first of the workers.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
from typing import NoReturn

from ratelimit_kit.errors import ConfigurationError, LateWorkersError, StartupRefused, UnsafeWorkersError
from ratelimit_kit.guard.servers import detected, within_lifespan
from ratelimit_kit.guard.workers import Workers, declared

_log = logging.getLogger("ratelimit_kit")

STAND_BY = 2.0
"""Seconds that a worker waits to be stopped because of the refusal of the first one."""

GRACE = 0.5
"""Seconds that it leaves the first one to speak, where it cannot see whether it is being stopped."""

LATE = 5.0
"""Seconds that a worker added to a running server waits, for its server will start it again at once."""

TICK = 0.02
"""Seconds between two looks."""

ALONE = Workers(1, "there is one process")


def refuse(error: StartupRefused) -> NoReturn:
    """Raise the refusal; the first worker prints it too, for an exit says nothing by itself.

    The others leave it to that one, wait until the server stops them, and end with status 0 where
    they can see that: gunicorn answers several workers that fail to boot at the same time with
    tracebacks of its own. So does a worker added to a running server, for the others go on. Where an
    exit would only be answered with another worker, for ever, the refusal is a plain error: the site
    answers 5xx. Within an ASGI lifespan nothing is printed, for the server prints what it is sent.
    """
    if within_lifespan():
        raise error
    worker = detected() or ALONE
    if worker.respawns:
        raise error.without_exit() from None
    if worker.speaks or worker.late:
        _print(error)
    end = time.monotonic() + _wait(worker)
    while not worker.is_stopping() and time.monotonic() < end:
        time.sleep(TICK)
    if _leaves_quietly(worker):
        error.code = 0
    raise error


async def lifespan_message(error: ConfigurationError) -> str:
    """What to send as the message of `lifespan.startup.failed`: the refusal, from the first worker only.

    The others wait and leave as in `refuse`; they have served nobody yet.
    """
    worker = detected() or ALONE
    if not _leaves_quietly(worker):
        return str(error) if worker.speaks else ""
    if worker.late:
        _print(error)
    end = time.monotonic() + _wait(worker)
    while not worker.is_stopping() and time.monotonic() < end:  # noqa: ASYNC110 - a signal handler sets it
        await asyncio.sleep(TICK)
    os._exit(0)  # a SystemExit raised here would be taken for "no lifespan", and the worker would serve


def _leaves_quietly(worker: Workers) -> bool:
    """Whether its end must not look like a failure; one started in its place would speak."""
    return worker.late or (worker.stopping is not None and not worker.speaks)


def _wait(worker: Workers) -> float:
    if worker.late:
        return LATE
    if worker.speaks:
        return 0.0
    return GRACE if worker.stopping is None else STAND_BY


def _print(error: ConfigurationError) -> None:
    sys.stderr.write(f"\n{error}\n\n")
    sys.stderr.flush()


def replaces_another() -> bool:
    """Whether this process is a worker that a running server has started in place of another."""
    worker = detected()
    return worker is not None and worker.replaces_another


def refuse_several_workers(store: str, workers: int | None) -> None:
    """Raise UnsafeWorkersError when several workers would each count for themselves in `store`.

    `workers` is the application's own word for their number; the environment's comes next
    (RATELIMIT_KIT_WORKERS), then what the server shows.
    """
    word = declared(workers)
    seen = detected()
    found = word or seen
    if found is not None and found.count > 1:
        if found is seen and seen.late:
            refuse(LateWorkersError(_late_message(store, found)))
        refuse(UnsafeWorkersError(_message(store, found)))
    if word is not None and seen is not None and seen.count > 1:
        _log.warning("%s, so %s is allowed although %s", word.found, store, seen.found)


def _late_message(store: str, workers: Workers) -> str:
    return (
        f"{store} counts per process, and a running server with {workers.initial} was told to have {workers.count} workers: "
        "the added one does not serve, for each client would get more than its quota. Take it back "
        '(gunicorn: kill -TTOU), or use store="redis://..."'
    )


def _message(store: str, workers: Workers) -> str:
    return (
        f"{store} counts per process, and {workers.found}: each client would get {workers.count} x its quota. "
        'Use store="redis://...", or run one worker. If there really is only one process, say so with workers=1 '
        "or RATELIMIT_KIT_WORKERS=1."
    )
