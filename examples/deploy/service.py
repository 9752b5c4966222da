"""A site as it is deployed: rules from a file, health and metrics beside them.

    gunicorn --config gunicorn.conf.py service:application

The rules are in ratelimit.toml, and changes to it are applied while the site runs. Do not expose /metrics
to the public: it is for the Prometheus in your own network.
"""

import os
from pathlib import Path

from prometheus_client import REGISTRY, CollectorRegistry, make_wsgi_app, multiprocess

from ratelimit_kit import Policy
from ratelimit_kit.wsgi import HealthApplication, RateLimitMiddleware


def hello(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain; charset=utf-8")])
    return [b"Hello!\n"]


def metrics():
    """The metrics of all workers, where they share a folder; else those of this process."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return make_wsgi_app(REGISTRY)
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)
    return make_wsgi_app(registry)


policy = Policy.from_file(os.environ.get("RATELIMIT_FILE", Path(__file__).with_name("ratelimit.toml")))

pages = {
    "/healthz": HealthApplication(policy),  # ready for traffic?
    "/livez": HealthApplication(policy, live=True),  # needs a restart?
    "/metrics": metrics(),
}


def site(environ, start_response):
    return pages.get(environ["PATH_INFO"], hello)(environ, start_response)


application = RateLimitMiddleware(site, policy)
