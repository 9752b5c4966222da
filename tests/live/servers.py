"""The servers on which the guard is proven: how each is given its number of workers, and how a refusal ends it."""

from __future__ import annotations

import atexit
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.processes import EXAMPLES, python_program


def host_url() -> str:
    """A store of this host that nobody else uses."""
    folder = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return f"host://{folder}/limits?timeout=5"


APPS = Path(__file__).parent / "apps"
WSGI, ASGI = "memory_app:application", "memory_app:asgi_application"

IMPORT, LIFESPAN, REQUEST = "when the application is loaded", "in the lifespan", "at the first request"


@dataclass(frozen=True)
class Case:
    """A server and how it is started; "{port}" in a word stands for the port.

    `found` is what the message says was seen. `status` is the server's exit status after a refusal, or
    `or_status`; None where it cannot be ended, and answers 5xx. `common` cases run in `make test` too.
    """

    server: str
    given: str
    command: Sequence[str]
    found: str = ""
    status: int | None = 0
    moment: str = IMPORT
    env: Mapping[str, str] = field(default_factory=dict)
    folder: Path = APPS
    seconds: float = 15
    common: bool = False
    needs: str = ""
    or_status: int | None = None

    @property
    def name(self) -> str:
        return f"{self.server}, {self.given}"

    def words(self, port: int) -> list[str]:
        return [word.replace("{port}", str(port)) for word in self.command]


def gunicorn(given: str, *options: str, found: str = "", app: str = WSGI, env: Mapping[str, str] | None = None, common: bool = False, moment: str = IMPORT) -> Case:  # fmt: skip
    command = [python_program("gunicorn"), *options, app, "--bind", "127.0.0.1:{port}"]
    return Case("gunicorn", given, command, found and f"gunicorn is starting {found}", 3, moment, env or {}, APPS, 15, common)  # fmt: skip


def uvicorn(given: str, *options: str, found: str = "", app: str = ASGI, env: Mapping[str, str] | None = None, common: bool = False, moment: str = IMPORT) -> Case:  # fmt: skip
    command = [python_program("uvicorn"), *options, app, "--port", "{port}"]
    return Case("uvicorn", given, command, found and f"uvicorn is starting {found}", 0, moment, env or {}, APPS, 15, common)  # fmt: skip


def hypercorn(given: str, *options: str, found: str = "", app: str = ASGI, moment: str = IMPORT, common: bool = False) -> Case:  # fmt: skip
    command = [python_program("hypercorn"), *options, "--bind", "127.0.0.1:{port}", app]
    return Case("hypercorn", given, command, found and f"hypercorn is starting {found}", 0, moment, {}, APPS, 15, common, or_status=241)  # fmt: skip


def granian(given: str, *options: str, found: str = "", app: str = ASGI, env: Mapping[str, str] | None = None, moment: str = IMPORT, common: bool = False) -> Case:  # fmt: skip
    command = [python_program("granian"), *options, "--port", "{port}", app]
    return Case("granian", given, command, found and f"granian is starting {found}", 1, moment, env or {}, APPS, 15, common)  # fmt: skip


def uwsgi(given: str, *options: str, found: str = "", status: int | None = 3, common: bool = False) -> Case:
    command = [python_program("pyuwsgi"), "--http-socket", "127.0.0.1:{port}", *options]
    return Case("uWSGI", given, command, found and f"uWSGI is starting {found}", status, IMPORT, {}, APPS, 15, common)


def mod_wsgi(given: str, processes: int, *, found: str = "") -> Case:
    command = [sys.executable, "apache.py", "{port}", str(processes)]
    return Case("mod_wsgi", given, command, found, None, REQUEST, needs="apache2")


def program(server: str, given: str, file: str, *words: str, found: str = "", status: int | None = 0, moment: str = IMPORT) -> Case:  # fmt: skip
    return Case(server, given, [sys.executable, file, "{port}", *words], found, status, moment)


SITE = ["--master", "--die-on-term", "--wsgi-file", "memory_app.py"]
FASTAPI = python_program("fastapi")

SEVERAL = [
    gunicorn("`--workers 4`", "--workers", "4", found="4 workers (--workers 4)", common=True),
    gunicorn("`--workers=3`", "--workers=3", found="3 workers (--workers 3)"),
    gunicorn("`-w4 --threads 2` (gthread)", "-w4", "--threads", "2", found="4 workers (--workers 4)"),
    gunicorn("`--preload -w 4`", "--preload", "-w", "4", found="4 workers (--workers 4)", common=True),
    gunicorn("`WEB_CONCURRENCY=3`", env={"WEB_CONCURRENCY": "3"}, found="3 workers (WEB_CONCURRENCY=3)", common=True),
    gunicorn("`GUNICORN_CMD_ARGS`", env={"GUNICORN_CMD_ARGS": "--workers 2"}, found="2 workers (GUNICORN_CMD_ARGS)"),
    gunicorn("configuration file", "--config", "gunicorn_conf.py", found="3 workers (its configuration)", common=True),
    gunicorn("`-w 2`, its ASGI worker", "-w", "2", "-k", "asgi", app=ASGI, found="2 workers (--workers 2)"),
    gunicorn("`-w 2`, its ASGI worker, FastAPI", "-w", "2", "-k", "asgi", app="fastapi_app:app", found="2 workers (--workers 2)", moment=LIFESPAN),
    gunicorn("`-w 2`, uvicorn's worker", "-w", "2", "-k", "uvicorn_worker.UvicornWorker", app=ASGI, found="2 workers (--workers 2)", common=True),
    gunicorn("`-w 2`, uvicorn's worker, FastAPI", "-w", "2", "-k", "uvicorn_worker.UvicornWorker", app="fastapi_app:app", found="2 workers (--workers 2)", moment=LIFESPAN),
    program("gunicorn", "`BaseApplication` from Python", "gunicorn_program.py", "4", found="gunicorn is starting 4 workers", status=3),
    uvicorn("`--workers 2`", "--workers", "2", found="2 workers (--workers 2)", common=True),
    uvicorn("`WEB_CONCURRENCY=2`", env={"WEB_CONCURRENCY": "2"}, found="2 workers (WEB_CONCURRENCY=2)"),
    uvicorn("`UVICORN_WORKERS=2`", env={"UVICORN_WORKERS": "2"}, found="2 workers (UVICORN_WORKERS=2)"),
    uvicorn("`--workers 2 --lifespan off`", "--workers", "2", "--lifespan", "off", found="2 workers (--workers 2)"),
    uvicorn("`--workers 2`, FastAPI", "--workers", "2", app="fastapi_app:app", found="2 workers (--workers 2)", moment=LIFESPAN),
    program("uvicorn", "`uvicorn.run(workers=2)`", "uvicorn_program.py", "2", found="uvicorn is starting 2 workers"),
    program("uvicorn", "two on one socket (`--fd`)", "shared_socket.py", "2", found="serves the same application on 127.0.0.1", status=None, moment=LIFESPAN),
    Case("fastapi run", "`--workers 2`", [FASTAPI, "run", "--workers", "2", "--port", "{port}", "fastapi_app.py"], "uvicorn is starting 2 workers (--workers 2)", 0, LIFESPAN, common=True),
    Case("fastapi run", "`--workers 2`, a Limiter", [FASTAPI, "run", "--workers", "2", "--port", "{port}", "fastapi_limiter.py"], "fastapi run is starting 2 workers (--workers 2)", 3),
    Case("fastapi run", "`--workers=2`, a Limiter", [FASTAPI, "run", "--workers=2", "--port", "{port}", "fastapi_limiter.py"], "fastapi run is starting 2 workers (--workers 2)", 3),
    hypercorn("`-w 2`", "-w", "2", found="2 workers (--workers 2)", common=True),
    hypercorn("configuration file", "--config", "hypercorn.toml", found="2 workers (its configuration)"),
    hypercorn("`-w 2`, FastAPI", "-w", "2", app="fastapi_app:app", found="2 workers (--workers 2)", moment=LIFESPAN),
    granian("`--workers 2`, ASGI", "--interface", "asgi", "--workers", "2", found="2 workers (--workers 2)", common=True),
    granian("`--workers 2`, ASGI without lifespan", "--interface", "asginl", "--workers", "2", found="2 workers (--workers 2)"),
    granian("`GRANIAN_WORKERS=2`, WSGI", "--interface", "wsgi", app=WSGI, env={"GRANIAN_WORKERS": "2"}, found="2 workers (GRANIAN_WORKERS=2)"),
    granian("`--workers 2`, FastAPI", "--interface", "asgi", "--workers", "2", app="fastapi_app:app", found="2 workers (--workers 2)", moment=LIFESPAN),
    uwsgi("`--processes 2`", *SITE, "--processes", "2", found="2 workers (processes = 2)", common=True),
    uwsgi("ini file", "--ini", "uwsgi.ini", found="3 workers (processes = 3)"),
    uwsgi("`--cheaper 1 --processes 2`", *SITE, "--processes", "2", "--cheaper", "1", found="2 workers (processes = 2)"),
    uwsgi("`--lazy-apps --processes 2`", *SITE, "--processes", "2", "--lazy-apps", found="2 workers (processes = 2)", status=None),
    uwsgi("`--lazy-apps --need-app`", *SITE, "--processes", "2", "--lazy-apps", "--need-app", found="2 workers (processes = 2)", status=22),
    mod_wsgi("`WSGIDaemonProcess processes=2`", 2, found="mod_wsgi is starting 2 processes (WSGIDaemonProcess site processes=2)"),
    mod_wsgi("embedded in Apache", 0, found="mod_wsgi runs embedded in Apache"),
    program("werkzeug", "`processes=2`", "werkzeug_processes.py", "2", found="werkzeug is serving with up to 2 processes", status=-15, moment=REQUEST),
    program("pre-forked by hand", "2 processes", "prefork.py", "2", found="serves the same application on 127.0.0.1", status=None, moment=REQUEST),
    gunicorn("`RATELIMIT_KIT_WORKERS=8`", env={"RATELIMIT_KIT_WORKERS": "8"}, common=True),
]  # fmt: skip
"""Servers with several workers: refused with the memory store, fine with Redis."""

SINGLE = [
    gunicorn("one worker", common=True),
    gunicorn("`--preload`", "--preload"),
    gunicorn("`--threads 4`", "--threads", "4", common=True),
    program("gunicorn", "`BaseApplication` from Python", "gunicorn_program.py", "1"),
    gunicorn("its ASGI worker", "-k", "asgi", app=ASGI),
    gunicorn("uvicorn's worker", "-k", "uvicorn_worker.UvicornWorker", app=ASGI),
    gunicorn("`--workers 2`, `RATELIMIT_KIT_WORKERS=1`", "-w", "2", env={"RATELIMIT_KIT_WORKERS": "1"}, common=True),
    gunicorn("`--workers 2`, `allow_per_process=True`", "-w", "2", env={"ALLOW_PER_PROCESS": "1"}, common=True),
    gunicorn("`--reload`", "--reload"),
    uvicorn("one process", common=True),
    uvicorn("`--workers 1`", "--workers", "1"),
    uvicorn("`--lifespan off`", "--lifespan", "off"),
    uvicorn("`--reload`", "--reload"),
    uvicorn("FastAPI", app="fastapi_app:app"),
    program("uvicorn", "`uvicorn.run(workers=1)`", "uvicorn_program.py", "1"),
    program("uvicorn", "one on a given socket (`--fd`)", "shared_socket.py", "1"),
    Case("fastapi run", "one process", [FASTAPI, "run", "--port", "{port}", "fastapi_app.py"], common=True),
    Case("fastapi dev", "with reload", [FASTAPI, "dev", "--port", "{port}", "fastapi_app.py"]),
    hypercorn("one worker", common=True),
    hypercorn("`--reload`", "--reload"),
    granian("ASGI", "--interface", "asgi", common=True),
    granian("WSGI", "--interface", "wsgi", app=WSGI),
    uwsgi("`--processes 1`", *SITE, "--processes", "1", common=True),
    uwsgi("`--lazy-apps`, one process", *SITE, "--lazy-apps"),
    mod_wsgi("`WSGIDaemonProcess processes=1`", 1),
    Case("waitress", "one process by nature", [python_program("waitress-serve"), "--listen", "127.0.0.1:{port}", WSGI], common=True),
    Case("daphne", "one process by nature", [python_program("daphne"), "--port", "{port}", ASGI], common=True),
    program("werkzeug", "one process", "werkzeug_processes.py", "1"),
    program("pre-forked by hand", "1 process", "prefork.py", "1"),
    Case("flask run", "one process", [python_program("flask"), "--app", "flask_app", "run", "--port", "{port}"]),
    Case("flask run", "`--debug` (reloader)", [python_program("flask"), "--app", "flask_app", "run", "--debug", "--port", "{port}"], common=True),
    Case("runserver", "with its reloader", [sys.executable, "manage.py", "runserver", "{port}"], folder=EXAMPLES / "django_site", common=True),
    Case("runserver", "`--noreload`", [sys.executable, "manage.py", "runserver", "--noreload", "{port}"], folder=EXAMPLES / "django_site"),
]  # fmt: skip
"""Servers with one worker, or whose several were accepted: never refused."""
