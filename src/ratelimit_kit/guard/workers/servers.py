"""Which server runs this process, and how: whether it watches files, and after what it replaces the process."""

from __future__ import annotations

import sys
from typing import Any, Final

from ratelimit_kit.guard.workers.detection import (
    detected,
    first_set,
    gunicorn_setting,
    multiprocessing_config,
    on_the_stack,
    packages_that_run,
)

_LOADING: Final = ("gunicorn", "granian", "hypercorn", "uvicorn", "daphne", "waitress", "cheroot", "fastapi_cli")
"""Servers whose own code loads the application, and so is on the call stack."""

_WITHIN: Final = ("uwsgi", "mod_wsgi")
"""Modules that exist only within such a server."""


_IMPORTED: Final = {"waitress.server": "waitress", "cheroot.wsgi": "cheroot", "daphne.server": "daphne"}
"""Modules that a program imports which starts such a server itself."""


def server() -> str | None:
    """The server that runs this process, found by a module that exists only there, or on the call stack of a thread.

    That its module is imported is no sign: Django loads daphne for every command of a project with Channels.
    """
    for name in _WITHIN:
        if name in sys.modules:
            return name
    for name in packages_that_run():
        if name in _LOADING:
            return "uvicorn" if name == "fastapi_cli" else name
    return None


def likely_server() -> str | None:
    """The server that runs this process, or that a program which has imported it is about to start."""
    return server() or next((name for module, name in _IMPORTED.items() if module in sys.modules), None)


def reloads() -> bool:
    """Whether the server of this process starts it again when its code changes, as in development."""
    if gunicorn_setting("reload"):
        return True
    uwsgi: Any = sys.modules.get("uwsgi")
    if uwsgi is not None:
        return bool(first_set(uwsgi.opt, "py-autoreload", "py-auto-reload", "python-autoreload"))
    config = multiprocessing_config()
    granian: Any = sys.modules.get("granian.server.mp")
    server = None if granian is None else next(on_the_stack(granian.MPServer), None)
    hypercorn: Any = sys.modules.get("hypercorn.config")  # its one process with a reloader is no child of another
    alone = None if hypercorn is None else next(on_the_stack(hypercorn.Config), None)
    return any(
        bool(getattr(one, name, False))
        for one, name in (
            (config, "should_reload"),
            (config, "use_reloader"),
            (alone, "use_reloader"),
            (server, "reload_on_changes"),
        )
    )


def recycling() -> str:
    """After what the server of this process replaces it, in the words of its setting; "" if it is not seen to."""
    seen = detected()
    if seen is not None:
        return seen.recycles if not seen.replaces_another else ""
    module: Any = sys.modules.get("uvicorn.config")
    config = None if module is None else next(on_the_stack(module.Config), None)
    return "" if config is None else first_set(config, "limit_max_requests")
