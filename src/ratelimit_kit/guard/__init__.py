"""Start-up checks: what must not run is refused before the first request.

A refusal is an error that is also a SystemExit, and its message is printed once, by the first of
the sibling processes: the server ends instead of respawning workers for ever.
"""

from __future__ import annotations

import logging
import sys

from ratelimit_kit.errors import StartupRefused, UnsafeWorkersError
from ratelimit_kit.guard.workers import Workers, declared, detected

_log = logging.getLogger("ratelimit_kit")


def refuse(error: StartupRefused, *, speak: bool = True) -> StartupRefused:
    """Print the refusal, for an exit says nothing by itself; returns it to be raised."""
    if speak:
        sys.stderr.write(f"\n{error}\n\n")
        sys.stderr.flush()
    return error


def refuse_several_workers(store: str, workers: int | None) -> None:
    """Raise UnsafeWorkersError when several workers would each count for themselves in `store`.

    `workers` is the application's own word for their number; the environment's comes next
    (RATELIMIT_KIT_WORKERS), then what the server shows.
    """
    word = declared(workers)
    seen = detected()
    found = word or seen
    if found is not None and found.count > 1:
        raise refuse(UnsafeWorkersError(_message(store, found)), speak=seen is None or seen.first)
    if word is not None and seen is not None and seen.count > 1:
        _log.warning("%s, so %s is allowed although %s", word.found, store, seen.found)


def _message(store: str, workers: Workers) -> str:
    return (
        f"{store} counts per process, and {workers.found}: each client would get {workers.count} x its quota. "
        'Use store="redis://...", or run one worker. If there really is only one process, say so with workers=1 '
        "or RATELIMIT_KIT_WORKERS=1."
    )
