"""Detects how many workers the server of this process runs, with one small probe per server.

A probe reads the server's merged settings, returns None if it is not running, and never breaks the application.
waitress, daphne, cheroot, wsgiref and runserver have one process and need no probe.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator, Mapping, MutableMapping
from pathlib import Path
from types import FrameType
from typing import Any

from ratelimit_kit.core.fork import in_forked_child
from ratelimit_kit.guard.workers.count import Workers

_seen: dict[int, Workers] = {}
"""What was found in this process. The first check may be the only one that can see the server:
later calls may run in other threads."""


def detected() -> Workers | None:
    """The workers of the server that runs this process; None if it is not a known server."""
    if os.getpid() not in _seen:  # uWSGI forks mules without a word to Python
        _seen.clear()
        _seen.update((os.getpid(), workers) for workers in _looked())
    return _seen.get(os.getpid())


def _looked() -> Iterator[Workers]:
    for probe in (_uwsgi, _mod_wsgi, _passenger, _gunicorn, _spawned, _granian, _fastapi, _forking):
        try:
            workers = probe()
        except (AttributeError, TypeError, ValueError, RuntimeError):  # an unknown version of the server
            continue
        if workers is not None:
            yield workers
            return


def _uwsgi() -> Workers | None:
    """Read the module that uWSGI adds to its processes; worker 0 is the master, which loads the application."""
    module = sys.modules.get("uwsgi")
    if module is None:
        return None
    number = module.worker_id()
    if number == 0 and any(getattr(module, name, int)() for name in ("mule_id", "i_am_the_spooler")):
        found = f"uWSGI runs mules or spoolers beside {module.numproc} workers"
        return Workers(module.numproc + 1, found, number=module.numproc + 1, initial=module.numproc, beside=True)
    found = f"uWSGI is starting {module.numproc} workers (processes = {module.numproc})"
    manager = module.masterpid() or None  # without a master, nothing replaces a worker
    recycles = first_set(module.opt, *_RECYCLING)
    return Workers(module.numproc, found, number=number or 1, respawns=number > 0, manager=manager, recycles=recycles)


_RECYCLING = (
    "max-requests", "max-worker-lifetime", "reload-on-rss", "reload-on-as", "reload-on-uss", "evil-reload-on-rss", "evil-reload-on-as", "idle"
)  # fmt: skip
"""The options by which uWSGI ends a worker."""


def _mod_wsgi() -> Workers | None:
    """Read the module that mod_wsgi adds to Apache's processes.

    Outside a process group its number counts only the processes started so far, and Apache decides.
    """
    module = sys.modules.get("mod_wsgi")
    if module is None:
        return None
    if not module.process_group:
        found = "mod_wsgi runs embedded in Apache, which starts as many processes as it needs (no WSGIDaemonProcess)"
        return Workers(2, found, respawns=True, exact=False)
    count = int(module.maximum_processes)
    found = f"mod_wsgi is starting {count} processes (WSGIDaemonProcess {module.process_group} processes={count})"
    return Workers(count, found, respawns=True)


def _passenger() -> Workers | None:
    """Recognize Passenger, which starts as many processes as it needs and does not tell them the number."""
    if "IN_PASSENGER" not in os.environ:
        return None
    return Workers(2, "Passenger starts as many processes as it needs", respawns=True, exact=False)


def _forking() -> Workers | None:
    """Find a server on the call stack that forks a process for each request: werkzeug's, or a custom one."""
    module = sys.modules.get("socketserver")
    server = next(on_the_stack(module.ForkingMixIn), None) if module and hasattr(module, "ForkingMixIn") else None
    if server is None:
        return None
    count = max(2, server.max_children)
    name = "werkzeug" if type(server).__module__.startswith("werkzeug.") else type(server).__name__
    found = f"{name} is serving with up to {count} processes, one for each request"
    return Workers(count, found, per_request=True, manager=os.getppid())


def _gunicorn() -> Workers | None:
    """Find gunicorn's Arbiter, which holds the merged settings; a worker is forked below its call.

    After a reload (HUP) there are workers with other settings than the arbiter's, or replacements of added ones.
    """
    arbiter = _arbiter()
    if arbiter is None:
        return None
    count = max(arbiter.num_workers or 0, arbiter.cfg.workers)
    found = f"gunicorn is starting {count} workers ({_source(count, 'WEB_CONCURRENCY', 'GUNICORN_CMD_ARGS')})"
    if _runs("gunicorn.dirty.worker", "DirtyWorker"):
        found = f"gunicorn runs dirty workers beside {count} for HTTP"
        return Workers(count + 1, found, number=count + 1, initial=count, beside=True)
    recycles = first_set(arbiter.cfg, "max_requests")
    worker = next(on_the_stack(sys.modules["gunicorn.workers.base"].Worker), None)
    if worker is None:
        return Workers(count, found, recycles=recycles)
    reloaded = arbiter.cfg.workers > 1 and (
        worker.age > count or any(other.cfg is not arbiter.cfg for other in list(arbiter.WORKERS.values()))
    )
    return Workers(
        count,
        found,
        number=worker.age,
        stopping=lambda: not worker.alive,
        initial=1 if reloaded else arbiter.cfg.workers,
        manager=arbiter.pid,
        recycles=recycles,
        place=f"{arbiter.pid} {id(arbiter.cfg)}" if reloaded else "",
    )


def _arbiter() -> Any:
    module = sys.modules.get("gunicorn.arbiter")
    if module is None:
        return None
    arbiter = next(on_the_stack(module.Arbiter), None)
    if arbiter is None and not _searched:
        _searched.append(True)  # it is slow, and the result does not change
        arbiter = next((thing for thing in gc.get_objects() if type(thing) is module.Arbiter), None)
    return arbiter


def _spawned() -> Workers | None:
    """Find the Config that uvicorn and hypercorn pass to every worker process."""
    config, process = multiprocessing_config(), _process()
    server = type(config).__module__.partition(".")[0]
    target = getattr(getattr(process, "_target", None), "__module__", "")
    if server not in {"uvicorn", "hypercorn"} or target.partition(".")[0] != server:
        return None  # a program that starts servers itself does not count them
    manager, recycles = parent_by_multiprocessing(), first_set(config, "limit_max_requests", "max_requests")
    if getattr(config, "should_reload", False) or getattr(config, "use_reloader", False) or config.workers <= 1:
        return Workers(1, f"{server} runs one worker", manager=manager, recycles=recycles)
    found = f"{server} is starting {config.workers} workers ({_source(config.workers, 'WEB_CONCURRENCY', 'UVICORN_WORKERS')})"
    return Workers(config.workers, found, number=_process_number(), manager=manager, recycles=recycles)


def multiprocessing_config() -> Any:
    """The settings that a server has passed to this process of multiprocessing, or None."""
    return getattr(_process(), "_kwargs", {}).get("config")


def _granian() -> Workers | None:
    """Find granian's server on the call stack, below which it forks its workers."""
    module = sys.modules.get("granian.server.mp")
    if module is None:
        return None
    server = next(on_the_stack(module.MPServer), None)
    if server is None:
        return None
    found = f"granian is starting {server.workers} workers ({_source(server.workers, 'GRANIAN_WORKERS')})"
    recycles = first_set(server, "workers_lifetime", "workers_rss")
    manager = parent_by_multiprocessing()
    return Workers(server.workers, found, number=_process_number(), manager=manager, recycles=recycles)


def _fastapi() -> Workers | None:
    """Read the command line of `fastapi run`, whose own process imports the application before uvicorn starts."""
    words = [part for word in sys.argv for part in word.split("=", 1)]
    if "fastapi_cli" not in sys.modules or "run" not in words or "--workers" not in words:
        return None
    count = int(words[words.index("--workers") + 1])
    return Workers(count, f"fastapi run is starting {count} workers (--workers {count})")


def _process_number() -> int:
    """How many processes the parent has started with multiprocessing, up to this one."""
    number: int = (getattr(_process(), "_identity", None) or (1,))[-1]
    return number


def is_child() -> bool:
    """Whether multiprocessing has started this process; it has not if it was never imported."""
    module = sys.modules.get("multiprocessing.process")
    return module is not None and module.parent_process() is not None


def _process() -> Any:
    """The multiprocessing object of this process, or None if multiprocessing did not start it."""
    return sys.modules["multiprocessing.process"].current_process() if is_child() else None


def parent_by_multiprocessing() -> int | None:
    """The process that has started this one with multiprocessing, if it still runs; else None."""
    parent: Any = sys.modules["multiprocessing.process"].parent_process() if is_child() else None
    return parent.pid if parent is not None and parent.is_alive() else None


def first_set(settings: object, *names: str) -> str:
    """The first of these settings with a value, as it would be written; "" if there is none."""
    for name in names:
        value = settings.get(name) if isinstance(settings, dict) else getattr(settings, name, None)
        if value:
            return f"{name} = {value.decode() if isinstance(value, bytes) else value}"
    return ""


def _runs(module: str, name: str) -> bool:
    """Whether an object of a class of a module that is imported is on the call stack."""
    found = sys.modules.get(module)
    return found is not None and next(on_the_stack(getattr(found, name)), None) is not None


def _source(count: int, *variables: str) -> str:
    """Where the number was probably set; only for the message."""
    if any(word in {"-w", "--workers"} or word.startswith(("--workers=", "-w")) for word in sys.argv):
        return f"--workers {count}"
    for name in variables:
        text = os.environ.get(name, "")
        if text == str(count):
            return f"{name}={count}"
        if "workers" in text or "-w" in text:
            return name
    return "its configuration"


def within_lifespan() -> bool:
    """Whether this runs within an ASGI server's lifespan call, where an exception would only mean "no lifespan"."""
    scopes: Iterator[Any] = (values.get("scope") for values in _locals())
    return any(issubclass(type(scope), MutableMapping) and scope.get("type") == "lifespan" for scope in scopes)


def packages_that_run() -> Iterator[str]:
    """The packages on the call stack, innermost first, and then on those of other threads."""
    for last in (sys._getframe(), *sys._current_frames().values()):  # noqa: SLF001 - the documented way to call stacks
        frame: FrameType | None = last
        while frame is not None:
            yield str(frame.f_globals.get("__name__", "")).partition(".")[0]
            frame = frame.f_back


def tested() -> bool:
    """Whether pytest, unittest or Django's `manage.py test` runs this process, and not only the one that has started it."""
    program = "".join(sys.argv[:1])
    django = "django.test.runner" in sys.modules or Path(program).stem in {"manage", "django-admin"}
    if (django and "test" in sys.argv[1:2]) or program.endswith("-m unittest"):
        return True
    return "_pytest" in sys.modules and ("PYTEST_CURRENT_TEST" in os.environ or "_pytest" in packages_that_run())


def collected() -> bool:
    """Whether pytest is importing this, outside of any test: there, a SystemExit ends pytest itself."""
    return tested() and "PYTEST_CURRENT_TEST" not in os.environ


def gunicorn_setting(name: str) -> Any:
    """A setting of the gunicorn that runs this process; None without gunicorn, or if it has no such setting."""
    arbiter = _arbiter()
    return None if arbiter is None else getattr(arbiter.cfg, name, None)


def on_the_stack(wanted: type) -> Iterator[Any]:
    """Objects of a class among the local variables on the call stack, innermost first.

    Looks at their types only: `isinstance` would evaluate lazy objects of the application.
    """
    for values in _locals():
        yield from (value for value in list(values.values()) if issubclass(type(value), wanted))


def _locals() -> Iterator[Mapping[str, Any]]:
    frame: FrameType | None = sys._getframe()  # noqa: SLF001 - the documented way to the call stack
    while frame is not None:
        yield frame.f_locals
        frame = frame.f_back


_searched: list[bool] = []


def _forget() -> None:
    """Forget the results in a forked child, which may be a worker."""
    _seen.clear()
    _searched.clear()


in_forked_child(_forget)
