"""Django's system checks: the start-up checks of the policy in the setting RATELIMIT_KIT.

`manage.py check` checks what can be seen without the network; `manage.py check --deploy` checks the store too. The
codes are those of the library: RLK201 is `ratelimit_kit.E201`, RLK251 is `ratelimit_kit.W251`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.core import checks

from ratelimit_kit.django.site import SETTING, site_policy
from ratelimit_kit.errors import ConfigurationError, CostError, StartupWarning, UnusedRulesError
from ratelimit_kit.web.policy.policy import Policy

MIDDLEWARE = "ratelimit_kit.django.RateLimitMiddleware"

Found = ConfigurationError | CostError | StartupWarning


@checks.register(checks.Tags.security)
def check_policy(**_: Any) -> list[checks.CheckMessage]:
    """The findings that need no network."""
    return [_message(found) for found in _findings(live=False)]


@checks.register(checks.Tags.security, deploy=True)
def check_store(**_: Any) -> list[checks.CheckMessage]:
    """The findings that only the store can show."""
    known = {str(found) for found in _findings(live=False)}
    return [_message(found) for found in _findings(live=True) if str(found) not in known]


def _findings(*, live: bool) -> Iterator[Found]:
    if getattr(settings, SETTING, None) is None:
        return
    try:
        policy = site_policy()
    except (ConfigurationError, CostError) as error:
        yield error
        return
    has_middleware = _is_limited()
    if policy.rules and not has_middleware:
        yield UnusedRulesError(
            f"the setting {SETTING} has rules, but MIDDLEWARE has no RateLimitMiddleware: no request is limited by them. "
            f'Add "{MIDDLEWARE}" to MIDDLEWARE, or remove the rules if only decorators are meant'
        )
    yield from _relevant(policy, live=live, has_middleware=has_middleware)


def _relevant(policy: Policy, *, live: bool, has_middleware: bool) -> Iterator[Found]:
    """All findings; a site that uses only decorators needs no rules."""
    for found in policy.findings(live=live):
        if policy.rules or has_middleware or found.rlk != "RLK103":
            yield found


def _is_limited() -> bool:
    return any(name == MIDDLEWARE or name.endswith(".RateLimitMiddleware") for name in settings.MIDDLEWARE)


def _message(found: Found) -> checks.CheckMessage:
    code = found.rlk.removeprefix("RLK")
    text = str(found).removesuffix(f" [{found.rlk}]")
    if isinstance(found, StartupWarning):
        return checks.Warning(text, id=f"ratelimit_kit.W{code}")
    return checks.Error(text, id=f"ratelimit_kit.E{code}")
