"""Ready-made views: the application's health, a liveness probe, the browser module."""

from __future__ import annotations

import flask

from ratelimit_kit.flask.decorators import exempt
from ratelimit_kit.flask.requests import policies_in_force
from ratelimit_kit.web.response.health import LIVE, Health


def health() -> flask.Response:
    """A view that responds with the health of the application's policy: 200, or 503 when limits cannot be enforced.

    `app.add_url_rule("/healthz", view_func=health)`. No rule limits it. Of several policies it tells of the worst.
    """
    found = [policy.health() for policy in policies_in_force()]
    return _told(max(found, key=lambda one: ("pass", "warn", "fail").index(one.status)))


def liveness() -> flask.Response:
    """A view for a liveness probe: this process responds, whatever the state of the store. No rule limits it."""
    return _told(LIVE)


def _told(found: Health) -> flask.Response:
    body = b"" if flask.request.method == "HEAD" else found.body()
    return flask.Response(body, found.http_status, found.fields())


exempt(health)
exempt(liveness)


def assets(prefix: str = "/ratelimit-kit") -> flask.Blueprint:
    """A blueprint with the browser module and its stylesheet: `app.register_blueprint(assets())`. No rule limits it."""
    folder = "static/ratelimit_kit"
    return exempt(flask.Blueprint("ratelimit_kit", "ratelimit_kit", static_folder=folder, static_url_path=prefix))
