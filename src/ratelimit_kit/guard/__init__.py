"""Start-up checks: what must not run is refused before the first request.

A refusal is an error that is also a SystemExit, raised by `refuse`: the server ends instead of
respawning workers for ever, and its message is printed once, by the first of the workers.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import time
from collections.abc import Callable
from typing import NoReturn

from ratelimit_kit.errors import ConfigurationError, StartupRefused, UnsafeWorkersError
from ratelimit_kit.guard.servers import detected, within_lifespan
from ratelimit_kit.guard.workers import Workers, declared

_log = logging.getLogger("ratelimit_kit")

PATIENCE = 5.0
"""Seconds that a worker waits to be stopped because of the refusal of the first one."""

GRACE = 0.5
"""Seconds that it leaves the first one to speak, where it cannot see that it is being stopped."""


def refuse(error: StartupRefused) -> NoReturn:
    """Raise the refusal; the first worker prints it too, for an exit says nothing by itself.

    The others leave it to that one and wait until the server stops them: gunicorn answers several
    workers that fail to boot at the same time with tracebacks of its own. Where an exit would only be
    answered with another worker, for ever, the refusal is a plain error: the site answers 5xx. Within an
    ASGI lifespan nothing is printed, for the server prints what it is sent.
    """
    if within_lifespan():
        raise error
    worker = detected()
    if worker is not None and worker.respawns:
        raise error.without_exit() from None
    if worker is None or worker.speaks:
        sys.stderr.write(f"\n{error}\n\n")
        sys.stderr.flush()
        raise error
    if worker.stopping is None:
        time.sleep(GRACE)
    elif _comes_true(worker.stopping):
        error.code = 0
    raise error


def _comes_true(condition: Callable[[], bool]) -> bool:
    end = time.monotonic() + PATIENCE
    while not (true := condition()) and time.monotonic() < end:
        time.sleep(0.02)
    return true


async def lifespan_message(error: ConfigurationError) -> str:
    """What to send as the message of `lifespan.startup.failed`: the refusal, from the first worker only.

    As in `refuse`, gunicorn's other workers wait to be stopped, and then leave with status 0.
    """
    worker = detected()
    if worker is None or worker.speaks:
        return str(error)
    end = time.monotonic() + PATIENCE
    while worker.stopping is not None and time.monotonic() < end:
        if worker.stopping():
            raise SystemExit(0)
        await asyncio.sleep(0.02)
    return ""


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
        refuse(UnsafeWorkersError(_message(store, found)))
    if word is not None and seen is not None and seen.count > 1:
        _log.warning("%s, so %s is allowed although %s", word.found, store, seen.found)


def _message(store: str, workers: Workers) -> str:
    return (
        f"{store} counts per process, and {workers.found}: each client would get {workers.count} x its quota. "
        'Use store="redis://...", or run one worker. If there really is only one process, say so with workers=1 '
        "or RATELIMIT_KIT_WORKERS=1."
    )
