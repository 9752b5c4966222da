"""How a refusal ends the server: an error that is also a SystemExit, raised by `refuse`.

The server stops instead of respawning workers forever, and the message is printed once, by the
first worker or the fastest. How each server reacts is in docs/explanation/guard.md.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from typing import NoReturn

from ratelimit_kit.errors import ConfigurationError, StartupRefused
from ratelimit_kit.guard.announce import is_first
from ratelimit_kit.guard.checks.per_request_limiters import within_request
from ratelimit_kit.guard.workers.count import Workers
from ratelimit_kit.guard.workers.detection import collected, detected, is_child, within_lifespan
from ratelimit_kit.waiting import asleep

STAND_BY_SECONDS = 2.0
"""How long a worker waits for the server to stop it after the refusal of the first one."""

GRACE_SECONDS = 0.5
"""How long it gives the first one to print, and that one the others to see that it has, if no server tells them."""

LATE_SECONDS = 5.0
"""How long a worker added to a running server waits, because the server restarts it immediately."""

TICK_SECONDS = 0.02
"""Seconds between two checks."""

LAST_RESPONSES_SECONDS = 0.5
"""How long a process that ends itself while serving has to send the responses in progress."""

ALONE = Workers(1, "there is one process")


def refuse(error: StartupRefused) -> NoReturn:
    """Raise the refusal; the first worker prints it too, because an exit alone shows no message.

    The others print nothing, wait until the server stops them, and exit with status 0 if they can
    see that: when several workers fail to boot at the same time, gunicorn prints tracebacks of its own.
    A worker added to a running server does the same, because the others continue. If the server would
    restart the worker forever, the refusal is a plain error, and the site responds with 5xx; so it is where
    pytest imports the application, because an exit would end all tests. Within an
    ASGI lifespan nothing is printed, because the server prints the message it receives.
    """
    if collected():
        raise error.without_exit() from error.__cause__
    if within_lifespan():
        raise error
    if within_request():  # a limiter built late: an exit would only end the request's thread
        _print_once(error)
        raise error.without_exit() from None
    worker = detected() or ALONE
    if worker.respawns:
        raise error.without_exit() from None
    speaks = _speaks(worker, error)
    if speaks:
        _print(error)
    end = time.monotonic() + _wait(worker, speaks=speaks)
    while _stays(worker, end):
        time.sleep(TICK_SECONDS)
    if _leaves_quietly(worker):
        error.code = 0
    raise error


async def lifespan_message(error: ConfigurationError) -> str:
    """The message of `lifespan.startup.failed`: the refusal, from the first worker only.

    The others wait and exit as in `refuse`; they have not served any request yet.
    """
    worker = detected() or ALONE
    if not _leaves_quietly(worker):
        speaks = _speaks(worker, error)
        if _agrees(worker):  # the server stops all when the first one fails
            await asleep(GRACE_SECONDS if speaks else 2 * GRACE_SECONDS)
        return str(error) if speaks else ""
    if worker.late and _speaks(worker, error):
        _print(error)
    end = time.monotonic() + _wait(worker, speaks=False)
    while _stays(worker, end):
        await asleep(TICK_SECONDS)
    os._exit(0)  # the server would take a SystemExit raised here for "no lifespan", and serve requests


def leave(error: StartupRefused) -> NoReturn:
    """End a worker added to a running server before it serves requests: print why, and wait as `refuse` does."""
    worker = detected() or ALONE
    if _speaks(worker, error):
        _print(error)
    end = time.monotonic() + LATE_SECONDS
    while _stays(worker, end):
        time.sleep(TICK_SECONDS)
    os._exit(0)


def fail_to_boot(error: StartupRefused) -> NoReturn:
    """End a worker that gunicorn has just forked as one that cannot boot, so that gunicorn stops: print why once."""
    worker = detected() or ALONE
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # still the arbiter's handler, which would not end this process
    if worker.speaks:
        _print(error)
    else:
        time.sleep(STAND_BY_SECONDS)
    os._exit(error.code if worker.speaks and isinstance(error.code, int) else 0)


def _leaves_quietly(worker: Workers) -> bool:
    """Whether this worker must exit without looking like a failure: a replacement would print the message again."""
    return worker.late or (worker.stopping is not None and not worker.speaks)


def _speaks(worker: Workers, error: ConfigurationError) -> bool:
    """Whether this worker prints the reason: the first, or the fastest if none can see that the server stops them."""
    if _agrees(worker):
        first = is_first(str(error))
        if first is not None:
            return first
    return worker.speaks or worker.late


def _agrees(worker: Workers) -> bool:
    """Whether several workers may be printing at this moment, and their numbers do not say which is first."""
    return bool(worker.place) or (worker.stopping is None and worker.count > 1 and is_child())


def _wait(worker: Workers, *, speaks: bool) -> float:
    if worker.late:
        return LATE_SECONDS
    if speaks and not _agrees(worker):
        return 0.0
    return GRACE_SECONDS if worker.stopping is None else STAND_BY_SECONDS


def _stays(worker: Workers, end: float) -> bool:
    """Whether a refused worker still waits: not once it is told to exit, or its replacement could serve."""
    return time.monotonic() < end and not worker.is_stopping() and not worker.has_the_place()


def _print(error: ConfigurationError) -> None:
    sys.stderr.write(f"\n{error}\n\n")
    sys.stderr.flush()


_printed: set[str] = set()


def _print_once(error: ConfigurationError) -> None:
    if str(error) not in _printed:
        _printed.add(str(error))
        _print(error)


def replaces_another() -> bool:
    """Whether this process is a worker that a running server has started in place of another."""
    worker = detected()
    return worker is not None and worker.replaces_another


def end_this_process() -> None:
    """Make this process end, with SIGTERM as from its server, after the responses in progress."""
    _end_soon(os.getpid())


def end_this_server() -> None:
    """Make the server of this process end with it, if this is its only worker: it would start another one for ever."""
    worker = detected()
    if worker is None or worker.manager is None or worker.manager != os.getppid() or worker.count > 1:
        end_this_process()
    else:  # for uWSGI's master SIGTERM means a reload
        _end_soon(worker.manager, signal.SIGINT if "uwsgi" in sys.modules else signal.SIGTERM)


def _end_soon(pid: int, number: int = signal.SIGTERM) -> None:
    timer = threading.Timer(LAST_RESPONSES_SECONDS, os.kill, (pid, number))
    timer.daemon = True
    timer.start()


def end_the_server() -> None:
    """Make the parent end, for servers that fork a process per request: this one ends with its response anyway."""
    os.kill(os.getppid(), signal.SIGTERM)
