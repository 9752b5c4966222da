"""What a WSGI server does to the fields of requests before an application sees them, where that concerns addresses.

Some make one variable of X-Forwarded-For and X_Forwarded_For, so that a client writes into what the proxy has
written; one drops the field. Nothing of it can be seen in a request, so it is told when the application starts.
"""

from __future__ import annotations

import sys
from typing import Final

from ratelimit_kit.errors import MergedFieldsWarning, MissingFieldWarning, StartupWarning
from ratelimit_kit.guard.servers import gunicorn_setting, packages_that_led_here

_MERGING: Final = {
    "granian": "granian",
    "hypercorn": "hypercorn (WSGI)",
    "uvicorn": "uvicorn (WSGI)",
    "uwsgi": "uWSGI",
    "cheroot": "cheroot",
}
"""The servers that take underscores and hyphens for the same, tried out; gunicorn does only if it is told to."""

_LOADING: Final = ("gunicorn", "granian", "hypercorn", "uvicorn", "waitress", "cheroot")
"""Servers whose own code loads the application, and so is among the calls that led here."""


def finding(header: str) -> StartupWarning | None:
    """The warning for a server under which the field `header` of a trusted proxy cannot be relied on."""
    server = _server()
    given = {word.partition("=")[0] for word in sys.argv}
    told = {"--trusted-proxy", "--trusted-proxy-headers"} <= given
    if server == "waitress" and not told:
        return MissingFieldWarning(
            f"waitress removes {header} unless it is told to trust the proxy, and with trusted_proxies all clients are then the "
            "proxy itself. Start it with --trusted-proxy='*' --trusted-proxy-headers=x-forwarded-for (in code: trusted_proxy=, "
            "trusted_proxy_headers=) where only the proxy can reach it: it then gives the client's address itself, and "
            "trusted_proxies is to be left out here"
        )
    if server in _MERGING or (server == "gunicorn" and _is_lax()):
        spelt = "-".join(part.capitalize() for part in header.split("-"))
        other = spelt.replace("-", "_")
        return MergedFieldsWarning(
            f"{_MERGING.get(server or '', 'gunicorn with header_map=dangerous')} makes one field of {spelt} and {other}, so a "
            "client that sends the one with underscores chooses its address, unless the proxy drops it. nginx does (leave "
            f"underscores_in_headers off), and Apache; in Caddy write: request_header -{other}; in HAProxy: http-request "
            f"del-header {other}; in Traefik set it to nothing (customRequestHeaders). Or serve with gunicorn"
        )
    return None


def _server() -> str | None:
    """The server that runs this process: by the calls that led here, else by a module that nothing but the server loads."""
    if "uwsgi" in sys.modules:
        return "uwsgi"
    for name in packages_that_led_here():
        if name in _LOADING:
            return name
    for module in ("waitress.server", "cheroot.wsgi"):
        if module in sys.modules:
            return module.partition(".")[0]
    return None


def _is_lax() -> bool:
    """Whether gunicorn was told to keep fields with underscores (header_map)."""
    return str(gunicorn_setting("header_map")) == "dangerous"
