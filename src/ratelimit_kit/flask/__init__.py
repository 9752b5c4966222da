"""The Flask integration: an extension for the application, decorators for views and blueprints, health views.

`RateLimit(app, policy)` limits every request before the view, and before Flask's own error pages for
unknown paths.
"""

from __future__ import annotations

try:
    import flask  # noqa: F401 - imported here so that the error can say what to install
except ImportError as error:
    from ratelimit_kit.errors import DependencyError

    raise DependencyError.missing("ratelimit_kit.flask", "Flask", "flask") from error

from ratelimit_kit.flask.decorators import exempt, ratelimit
from ratelimit_kit.flask.extension import RateLimit
from ratelimit_kit.flask.views import assets, health, liveness

__all__ = ["RateLimit", "assets", "exempt", "health", "liveness", "ratelimit"]
