"""Warns about WSGI servers that change the header fields with the client's address before the application sees them.

Some merge X-Forwarded-For and X_Forwarded_For, so a client can add to what the proxy has written; one removes
the field. Neither can be detected from a request, so the warning is logged when the application starts.
"""

from __future__ import annotations

import sys
from typing import Final

from ratelimit_kit.errors import MergedFieldsWarning, MissingFieldWarning, StartupWarning
from ratelimit_kit.guard.worker_detection import gunicorn_setting, packages_that_led_here

_MERGING: Final = {
    "granian": "granian",
    "hypercorn": "hypercorn (WSGI)",
    "uvicorn": "uvicorn (WSGI)",
    "uwsgi": "uWSGI",
    "cheroot": "cheroot",
}
"""Servers that treat underscores and hyphens alike, as tested; gunicorn does so only if configured to."""

_LOADING: Final = ("gunicorn", "granian", "hypercorn", "uvicorn", "waitress", "cheroot")
"""Servers whose own code loads the application, and so is on the call stack."""


def finding(header: str) -> StartupWarning | None:
    """The warning if the server of this process makes the field `header` of a trusted proxy unreliable."""
    server = _server()
    given = {word.partition("=")[0] for word in sys.argv}
    told = {"--trusted-proxy", "--trusted-proxy-headers"} <= given
    if server == "waitress" and not told:
        return MissingFieldWarning(
            f"waitress removes {header} unless it is told to trust the proxy, and with trusted_proxies all clients then have the "
            "proxy's address. Start it with --trusted-proxy='*' --trusted-proxy-headers=x-forwarded-for (in code: trusted_proxy=, "
            "trusted_proxy_headers=) if only the proxy can reach it: it then passes on the client's address, and "
            "trusted_proxies must be left out here"
        )
    if server in _MERGING or (server == "gunicorn" and _is_lax()):
        spelt = "-".join(part.capitalize() for part in header.split("-"))
        other = spelt.replace("-", "_")
        return MergedFieldsWarning(
            f"{_MERGING.get(server or '', 'gunicorn with header_map=dangerous')} makes one field of {spelt} and {other}, so a "
            "client that sends the one with underscores can choose its address, unless the proxy drops it. nginx (leave "
            f"underscores_in_headers off) and Apache do; in Caddy write: request_header -{other}; in HAProxy: http-request "
            f"del-header {other}; in Traefik set it to nothing (customRequestHeaders). Or serve with gunicorn"
        )
    return None


def _server() -> str | None:
    """The server that runs this process, found on the call stack or by a module that only the server loads."""
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
