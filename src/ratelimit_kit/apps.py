"""The Django app: `"ratelimit_kit"` in INSTALLED_APPS."""

from __future__ import annotations

from django.apps import AppConfig


class RateLimitKitConfig(AppConfig):
    """Refuses a per-process store under several workers as soon as Django is set up.

    The middleware does so too; this covers sites that use only the view decorator, whose
    modules Django may not import before the first request.
    """

    name = "ratelimit_kit"
    verbose_name = "Rate limits"

    def ready(self) -> None:
        """Check the workers only: no network here, because every management command runs this."""
        from django.conf import settings

        import ratelimit_kit.django.checks  # noqa: F401 - registers them
        from ratelimit_kit.django.site import SETTING, site_policy
        from ratelimit_kit.errors import ConfigurationError

        if getattr(settings, SETTING, None) is None:
            return
        try:
            policy = site_policy()
        except ConfigurationError:
            return  # the system checks report it, and so does the first use of the policy
        policy.check_workers()
