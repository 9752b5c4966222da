"""How many worker processes serve this application: one small probe per server.

A probe returns what it saw, or None where its server does not run. It reads what the server has
already made of flags, configuration files and environment; it never breaks the application.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FrameType
from typing import Any

from ratelimit_kit.errors import OptionError

VARIABLE = "RATELIMIT_KIT_WORKERS"


@dataclass(frozen=True, slots=True)
class Workers:
    """A number of worker processes, as a sentence part that says where it was found.

    `number` counts the workers that the server has started, up to this one: 1 speaks for all, and
    above `count` this one replaces another in a server that runs. `stopping`, where the server shows
    it, tells whether this process has been told to end.
    """

    count: int
    found: str
    number: int = 1
    stopping: Callable[[], bool] | None = None


def declared(workers: int | None) -> Workers | None:
    """The user's word: the option `workers`, else the environment's RATELIMIT_KIT_WORKERS."""
    if workers is not None:
        return Workers(_number(workers, f"workers={workers!r}"), f"workers={workers} is declared")
    text = os.environ.get(VARIABLE, "")
    if not text:
        return None
    count = _number(int(text) if text.isascii() and text.isdigit() else text, f"{VARIABLE}={text!r}")
    return Workers(count, f"{VARIABLE}={text} is declared")


def _number(value: object, given: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise OptionError(f"{given} is no number of worker processes: give a whole number of 1 or more")
    return value


def detected() -> Workers | None:
    """What the server that runs this process shows; None when no known server does."""
    for probe in (_gunicorn, _uvicorn):
        try:
            workers = probe()
        except (AttributeError, TypeError, ValueError):  # another version of the server
            continue
        if workers is not None:
            return workers
    return None


def _gunicorn() -> Workers | None:
    """Find gunicorn's Arbiter, which holds the merged setting; a worker is forked below its call."""
    module = sys.modules.get("gunicorn.arbiter")
    if module is None:
        return None
    arbiter = next(_locals_of(module.Arbiter), None)
    if arbiter is None:
        arbiter = next((thing for thing in gc.get_objects() if type(thing) is module.Arbiter), None)
    if arbiter is None:
        return None
    count = max(arbiter.num_workers or 0, arbiter.cfg.workers)
    worker = next(_locals_of(sys.modules["gunicorn.workers.base"].Worker), None)
    found = f"gunicorn is starting {count} workers ({_gunicorn_source(count)})"
    if worker is None:
        return Workers(count, found)
    return Workers(count, found, number=worker.age, stopping=lambda: not worker.alive)


def _gunicorn_source(count: int) -> str:
    """Where the number was probably given, for the message only."""
    if {"-w", "--workers"} & set(sys.argv) or any(word.startswith(("--workers=", "-w")) for word in sys.argv):
        return f"--workers {count}"
    if "workers" in os.environ.get("GUNICORN_CMD_ARGS", "") or "-w" in os.environ.get("GUNICORN_CMD_ARGS", ""):
        return "GUNICORN_CMD_ARGS"
    if os.environ.get("WEB_CONCURRENCY") == str(count):
        return f"WEB_CONCURRENCY={count}"
    return "its configuration file"


def _uvicorn() -> Workers | None:
    """Find the Config that uvicorn hands to every worker process as an argument of the process."""
    module = sys.modules.get("uvicorn.config")
    if module is None:
        return None
    process: Any = multiprocessing.current_process()
    config = getattr(process, "_kwargs", {}).get("config")
    if not isinstance(config, module.Config):
        return None
    if config.should_reload or config.workers <= 1:
        return Workers(1, "uvicorn runs one worker")
    given = f"WEB_CONCURRENCY={config.workers}"
    by_variable = os.environ.get("WEB_CONCURRENCY") == str(config.workers) and "--workers" not in sys.argv
    found = f"uvicorn is starting {config.workers} workers ({given if by_variable else f'--workers {config.workers}'})"
    return Workers(config.workers, found, number=(process._identity or (1,))[-1])  # noqa: SLF001 - no public name


def _locals_of(wanted: type) -> Iterator[Any]:
    """Objects of a class among the local variables of the calls that led here, innermost first."""
    frame: FrameType | None = sys._getframe()  # noqa: SLF001 - the documented way to the call stack
    while frame is not None:
        yield from (value for value in frame.f_locals.values() if isinstance(value, wanted))
        frame = frame.f_back
