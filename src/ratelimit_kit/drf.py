"""Throttles for Django REST framework, under the names of its own: they count atomically, and exactly.

    REST_FRAMEWORK = {
        "DEFAULT_THROTTLE_CLASSES": ["ratelimit_kit.drf.UserRateThrottle"],
        "DEFAULT_THROTTLE_RATES": {"user": "1000/day"},
    }

All of a view's throttles of this module are decided at once, on the store of the setting RATELIMIT_KIT, and
add the RateLimit fields to the response. Rates are limits as everywhere in this library.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, ClassVar, cast

try:
    from rest_framework.exceptions import APIException
    from rest_framework.settings import api_settings
    from rest_framework.throttling import BaseThrottle
except ImportError as error:
    from ratelimit_kit.errors import DependencyError

    raise DependencyError(
        "ratelimit_kit.drf needs Django REST framework, which is not installed: pip install 'ratelimit-kit[drf]'"
    ) from error

from ratelimit_kit.core.limits import Limit
from ratelimit_kit.django.site import site_policy, translate
from ratelimit_kit.errors import OptionError
from ratelimit_kit.web.answer import Answer
from ratelimit_kit.web.claims import NamedRule
from ratelimit_kit.web.headers import Header
from ratelimit_kit.web.keys import Key
from ratelimit_kit.web.policy import Policy
from ratelimit_kit.web.request import Request, Response
from ratelimit_kit.web.rules import Rule

__all__ = ["AnonRateThrottle", "RateLimitThrottle", "ScopedRateThrottle", "StoreUnavailable", "UserRateThrottle"]

DECIDED = "_ratelimit_kit_throttled"
"""The attribute of Django's request that keeps what the first throttle of a view has decided for all."""


class StoreUnavailable(APIException):  # type: ignore[misc]  # Django REST framework is not typed
    """The store is away, and by on_outage="deny" nobody is served meanwhile."""

    status_code = 503
    default_detail = "Temporarily unavailable."
    default_code = "store_unavailable"

    def __init__(self, wait: float) -> None:
        super().__init__()
        self.wait = wait  # becomes Retry-After


class RateLimitThrottle(BaseThrottle):  # type: ignore[misc]  # Django REST framework is not typed
    """A throttle: subclass it with `limits` or a `scope` of DEFAULT_THROTTLE_RATES, and a `key` as rules have."""

    limits: ClassVar[str | Limit | Sequence[str | Limit]] = ()
    scope: ClassVar[str | None] = None
    key: ClassVar[Key] = "user"
    cost: ClassVar[Any] = 1

    def __init__(self) -> None:
        self._wait: float | None = None

    def named(self, policy: Policy, request: Any, view: Any) -> NamedRule | None:  # noqa: ARG002 - subclasses look at them
        """The rule that this throttle applies to a request; None where it applies none."""
        name = f"throttle.{self.scope or f'{type(self).__module__}.{type(self).__qualname__}'}"
        return _named(policy, name, _limits(self.limits or _rate(self.scope, type(self))), cast("Any", type(self)))

    def allow_request(self, request: Any, view: Any) -> bool:
        """Whether the view may answer; the first throttle of a view asks for all of them."""
        decided = getattr(request._request, DECIDED, None)  # noqa: SLF001 - its public way to Django's request
        if decided is not None and decided[0] is view:
            return True
        answer = self._decide(request, view)
        setattr(request._request, DECIDED, (view, answer))  # noqa: SLF001 - its public way to Django's request
        if answer.denied:
            fields = dict(answer.headers)
            view.headers.update({name: value for name, value in answer.headers if _tells_of_limits((name, value))})
            self._wait = float(fields["Retry-After"])
            if answer.status == 503:
                raise StoreUnavailable(self._wait)
            return False
        view.headers.update(dict(answer.finish(Response(200, view.headers))))
        return True

    def wait(self) -> float | None:
        """Seconds until the request may be tried again, for the Retry-After field."""
        return self._wait

    def _decide(self, request: Any, view: Any) -> Answer:
        policy = site_policy()
        ours = [one for one in view.get_throttles() if isinstance(one, RateLimitThrottle)]
        named = [one.named(policy, request, view) for one in ours]
        rules = {(one.name, one.rule.limits): one for one in named if one is not None}  # two of one scope count once
        return policy.check(_request(request), list(rules.values()))


class UserRateThrottle(RateLimitThrottle):
    """Limits each user, and each address without one: the rate "user"."""

    scope = "user"


class AnonRateThrottle(RateLimitThrottle):
    """Limits each address, and nobody who is signed in: the rate "anon"."""

    scope = "anon"
    key = "ip"

    def named(self, policy: Policy, request: Any, view: Any) -> NamedRule | None:
        """The rule, for those who are not signed in."""
        if request.user and request.user.is_authenticated:
            return None
        return super().named(policy, request, view)


class ScopedRateThrottle(RateLimitThrottle):
    """Limits each user, or address, by the rate that a view's `throttle_scope` names; views of one scope count together."""

    def named(self, policy: Policy, request: Any, view: Any) -> NamedRule | None:  # noqa: ARG002 - the base class's signature
        """The rule of the view's scope; none for a view without one."""
        scope = getattr(view, "throttle_scope", None)
        if not scope:
            return None
        return _named(policy, f"throttle.{scope}", _limits(_rate(scope, type(self))), cast("Any", type(self)))


def _rate(scope: str | None, throttle: type) -> str:
    rates = api_settings.DEFAULT_THROTTLE_RATES
    rate = rates.get(scope) if scope else None
    if rate is None:
        raise OptionError(
            f'{throttle.__name__} has no limits: write limits = "5/minute" in it, or add {scope or "its scope"!r} to '
            'REST_FRAMEWORK["DEFAULT_THROTTLE_RATES"]. To limit nobody, leave the throttle out'
        )
    return cast("str", rate)


def _limits(limits: str | Limit | Sequence[str | Limit]) -> tuple[str | Limit, ...]:
    return tuple(limits) if isinstance(limits, list | tuple) else (cast("str | Limit", limits),)


@cache
def _named(policy: Policy, name: str, limits: tuple[str | Limit, ...], throttle: Any) -> NamedRule:
    policy.check_workers()
    return policy.named(Rule(*limits, key=throttle.key, cost=throttle.cost), name)


def _request(request: Any) -> Request:
    """Django's request with the user whom the API has authenticated."""
    seen = translate(request._request)  # noqa: SLF001 - its public way to Django's request
    user = request.user
    name = str(user.pk) if user is not None and user.is_authenticated else None
    return Request(
        method=seen.method,
        path=seen.path,
        peer=seen.peer,
        headers=seen.headers,
        raw=request,
        user=lambda: name,
        ledger=seen.ledger,
        path_params=lambda: seen.path_params,
    )


def _tells_of_limits(field: Header) -> bool:
    return not field[0].lower().startswith("content-") and field[0].lower() not in {"vary", "retry-after"}
