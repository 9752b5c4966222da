"""Warns about WSGI servers that change the header fields with the client's address before the application sees them.

Some merge X-Forwarded-For and X_Forwarded_For, so a client can add to what the proxy has written; one removes
the field. Neither can be detected from a request, so the warning is logged when the application starts.
"""

from __future__ import annotations

import sys
from typing import Final

from ratelimit_kit.errors import MergedFieldsWarning, MissingFieldWarning, StartupWarning
from ratelimit_kit.guard.workers.detection import gunicorn_setting
from ratelimit_kit.guard.workers.servers import likely_server

_MERGING: Final = {
    "granian": "granian",
    "hypercorn": "hypercorn (WSGI)",
    "uvicorn": "uvicorn (WSGI)",
    "uwsgi": "uWSGI",
    "cheroot": "cheroot",
}
"""Servers that treat underscores and hyphens alike, as tested; gunicorn does so only if configured to."""


def finding(header: str) -> StartupWarning | None:
    """The warning if the server of this process makes the field `header` of a trusted proxy unreliable."""
    server = likely_server()
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


def _is_lax() -> bool:
    """Whether gunicorn was told to keep fields with underscores (header_map)."""
    return str(gunicorn_setting("header_map")) == "dangerous"
