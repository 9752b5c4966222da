"""The Django integration: a middleware for the site, decorators for single views, health views.

All read the setting RATELIMIT_KIT: a mapping for `Policy.from_config`, or the path of a TOML file.
"""

from __future__ import annotations

try:
    import django  # noqa: F401 - imported here so that the error can say what to install
except ImportError as error:
    from ratelimit_kit.errors import DependencyError

    raise DependencyError.missing("ratelimit_kit.django", "Django", "django") from error

from ratelimit_kit.django.decorator import ratelimit
from ratelimit_kit.django.exemption import exempt
from ratelimit_kit.django.middleware import RateLimitMiddleware
from ratelimit_kit.django.site import health, liveness

__all__ = ["RateLimitMiddleware", "exempt", "health", "liveness", "ratelimit"]
