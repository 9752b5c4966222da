"""Throttles for Django REST framework, with the same names as its own: they count atomically and exactly.

    REST_FRAMEWORK = {
        "DEFAULT_THROTTLE_CLASSES": ["ratelimit_kit.drf.UserRateThrottle"],
        "DEFAULT_THROTTLE_RATES": {"user": "1000/day"},
    }

All of a view's throttles from this module are decided in one step, on the store in the setting RATELIMIT_KIT, and add
the RateLimit fields to the response. Rates are written like all limits of this library.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, cast
from weakref import WeakKeyDictionary

try:
    from rest_framework.exceptions import APIException
    from rest_framework.settings import api_settings
    from rest_framework.throttling import BaseThrottle
except ImportError as error:
    from ratelimit_kit.errors import DependencyError

    raise DependencyError.missing("ratelimit_kit.drf", "Django REST framework", "drf") from error

from ratelimit_kit.core.limit import Limit
from ratelimit_kit.core.validation import options_of
from ratelimit_kit.django.site import finished, refused, site_policy, translate
from ratelimit_kit.errors import OptionError
from ratelimit_kit.web.http.messages import Request
from ratelimit_kit.web.http.users import user_text
from ratelimit_kit.web.identity.keys import Key
from ratelimit_kit.web.policy.decorators import Bindings, bound_once
from ratelimit_kit.web.policy.policy import Policy
from ratelimit_kit.web.response.result import CheckResult
from ratelimit_kit.web.rules.charges import BoundRule
from ratelimit_kit.web.rules.rule import Rule

__all__ = [
    "AnonRateThrottle",
    "RateLimitThrottle",
    "RequestTooCostly",
    "ScopedRateThrottle",
    "StoreUnavailable",
    "UserRateThrottle",
]

DECIDED = "_ratelimit_kit_throttled"
"""The attribute of Django's request that holds what the first throttle of a view decided for all of them."""

OWN_KEYS = "_ratelimit_kit_keys"
"""The attribute of Django's request that holds, by class, the keys of throttles with a key of their own."""


_OVERLOOKED = frozenset({*options_of(Rule.__init__), "limit"}) - {"key", "cost"} | frozenset(
    {"parse_rate", "throttle_success", "throttle_failure", "cache", "timer", "num_requests", "duration"}
)
"""Attributes of rules or Django REST framework's throttles that ours do not support, and a misspelling of `limits`."""


class StoreUnavailable(APIException):  # type: ignore[misc]  # Django REST framework is not typed
    """The store is unavailable, and by on_outage="deny" requests are refused meanwhile."""

    status_code = 503
    default_detail = "Temporarily unavailable."
    default_code = "store_unavailable"

    def __init__(self, wait: float) -> None:
        super().__init__()
        self.wait = wait  # becomes Retry-After


class RequestTooCostly(APIException):  # type: ignore[misc]  # Django REST framework is not typed
    """A request costs more than its limit can ever admit, and the policy has cost_status=413."""

    status_code = 413
    default_detail = "This request asks for an amount that its limit never allows."
    default_code = "request_too_costly"


class RateLimitThrottle(BaseThrottle):  # type: ignore[misc]  # Django REST framework is not typed
    """A throttle: subclass it with `limits`, a `rate` or a `scope` of DEFAULT_THROTTLE_RATES, and a `key` as in rules.

    What subclasses of Django REST framework's own throttles may define works here too: `rate`, `THROTTLE_RATES`,
    `get_rate`, `get_cache_key` (None: no limit), `get_ident` and `allow_request`.
    """

    limits: ClassVar[str | Limit | Sequence[str | Limit]] = ()
    rate: str | None = None
    scope: str | None = None
    key: ClassVar[Key] = "user"
    cost: ClassVar[Any] = 1
    cache_format = "throttle_%(scope)s_%(ident)s"
    bindings: ClassVar[Bindings] = WeakKeyDictionary()

    def __init_subclass__(cls, **options: Any) -> None:
        """Raise OptionError for attributes that would be silently ignored."""
        super().__init_subclass__(**options)
        cls.bindings = WeakKeyDictionary()
        for name in sorted(_OVERLOOKED & vars(cls).keys()):
            raise OptionError(
                f"{cls.__name__}.{name} would be ignored: a throttle has limits (such as '10/5 minutes'), rate, scope, key and "
                "cost, and get_rate, get_cache_key, get_ident and allow_request. For options of rules put "
                "ratelimit_kit.django.ratelimit on the view"
            )

    def __init__(self) -> None:
        self._wait: float | None = None

    @property
    def THROTTLE_RATES(self) -> Mapping[str, str | None]:  # noqa: N802 - Django REST framework's name
        """The rates by scope; a subclass may have a mapping of its own."""
        rates: Mapping[str, str | None] = api_settings.DEFAULT_THROTTLE_RATES
        return rates

    def get_rate(self) -> str | None:
        """The limit of this throttle's scope; OptionError if there is none."""
        rate = self.THROTTLE_RATES.get(self.scope) if self.scope else None
        if rate is None:
            raise OptionError(
                f'{type(self).__name__} has no limits: write limits = "5/minute" in it, or add {self.scope or "its scope"!r} '
                'to REST_FRAMEWORK["DEFAULT_THROTTLE_RATES"]. To limit nobody, remove the throttle'
            )
        return rate

    def get_ident(self, request: Any) -> str:
        """The client's address, as the policy determines it behind its trusted proxies."""
        return site_policy().address_of(translate(request._request))  # noqa: SLF001 - its public way to Django's request

    def get_cache_key(self, request: Any, view: Any) -> str | None:  # noqa: ARG002 - subclasses look at the view
        """The key, for subclasses to extend: the scope, and the user or else the address."""
        user = user_text(request.user)
        return self.cache_format % {"scope": self.scope, "ident": self.get_ident(request) if user is None else user}

    def named(self, policy: Policy, request: Any, view: Any) -> BoundRule | None:
        """The rule that this throttle applies to a request; None if it applies none."""
        limits = self.limits or self.rate or self.get_rate()
        if limits is None:
            return None
        own = self._own_key(request, view)
        if own == "":
            return None
        request._request.__dict__.setdefault(OWN_KEYS, {})[type(self)] = own  # noqa: SLF001 - its public way
        return _named(policy, self._names(), _limits(limits), type(self), own=own is not None)

    def allow_request(self, request: Any, view: Any) -> bool:
        """Whether the request may pass; a view's first throttle decides for all that do not override this method."""
        alone = _overrides(self, "allow_request")
        decided = getattr(request._request, DECIDED, None)  # noqa: SLF001 - its public way to Django's request
        if not alone and decided is not None and decided[0] is view:
            return True
        result = self._decide(request, view, [self] if alone else _of(view))
        if not alone:
            setattr(request._request, DECIDED, (view, result))  # noqa: SLF001 - its public way to Django's request
        _finish_with(view, result)
        if result.denied:
            fields = dict(result.headers)
            self._wait = float(fields["Retry-After"]) if "Retry-After" in fields else None
            if result.status == 503:
                raise StoreUnavailable(self._wait or 1.0)
            if result.status == 413:
                raise RequestTooCostly
            return False
        return True

    def wait(self) -> float | None:
        """Seconds until the request may be tried again, for the Retry-After field."""
        return self._wait

    def _names(self) -> tuple[str, str]:
        """The names in the counter and in fields: by scope, or by class if it has its own limits and no scope."""
        kind = type(self)
        own = bool(self.limits or self.rate) or any(_overrides(self, name) for name in ("get_rate", "THROTTLE_RATES"))
        if self.scope and (not own or "scope" in vars(self) or _overrides(self, "scope")):
            return f"throttle.{self.scope}", f"throttle.{self.scope}"
        return f"throttle.{kind.__module__}.{kind.__qualname__}", f"throttle.{kind.__name__}"

    def _own_key(self, request: Any, view: Any) -> str | None:
        """The key from a subclass's own method; "" for a request that it skips, None if `key` decides."""
        if _overrides(self, "get_cache_key"):
            return self.get_cache_key(request, view) or ""
        if _overrides(self, "get_ident") and (self.key == "ip" or _is_anonymous(request)):
            return f"ident:{self.get_ident(request)}"
        return None

    def _decide(self, request: Any, view: Any, throttles: Sequence[RateLimitThrottle]) -> CheckResult:
        policy = site_policy()
        named = [one.named(policy, request, view) for one in throttles]
        return policy.check(_request(request), [one for one in named if one is not None])


class UserRateThrottle(RateLimitThrottle):
    """Limits each user, or the address of a request without one, by the rate "user"."""

    scope = "user"


class AnonRateThrottle(RateLimitThrottle):
    """Limits each address, but not signed-in users, by the rate "anon"."""

    scope = "anon"
    key = "ip"

    def get_cache_key(self, request: Any, view: Any) -> str | None:
        """The key, for subclasses to extend: the scope and the address; None for signed-in users."""
        return super().get_cache_key(request, view) if _is_anonymous(request) else None

    def named(self, policy: Policy, request: Any, view: Any) -> BoundRule | None:
        """The rule that this throttle applies; None for signed-in users."""
        if not _is_anonymous(request) and not _overrides(self, "get_cache_key"):
            return None
        return super().named(policy, request, view)


class ScopedRateThrottle(RateLimitThrottle):
    """Limits each user or address by the rate that a view's `throttle_scope` names; views in one scope count together.

    A subclass may name another attribute of the view in `scope_attr`.
    """

    scope_attr = "throttle_scope"

    def named(self, policy: Policy, request: Any, view: Any) -> BoundRule | None:
        """The rule of the view's scope; None for a view without one."""
        self.scope = getattr(view, self.scope_attr, None)
        return super().named(policy, request, view) if self.scope else None


def _is_anonymous(request: Any) -> bool:
    return request.user is None or not request.user.is_authenticated


def _overrides(throttle: RateLimitThrottle, name: str) -> bool:
    """Whether a subclass outside this module defines a method."""
    definer = next(kind for kind in type(throttle).__mro__ if name in vars(kind))
    return definer.__module__ != __name__


def _of(view: Any) -> list[RateLimitThrottle]:
    """The throttles of a view that are decided together."""
    throttles = [one for one in view.get_throttles() if isinstance(one, RateLimitThrottle)]
    return [one for one in throttles if not _overrides(one, "allow_request")]


def _finish_with(view: Any, result: CheckResult) -> None:
    """Finish the result when the view's response is final: only then is it known what caches may do with it."""
    if not result.denied and not result.touches:
        return
    finalize = view.finalize_response

    def finalized(request: Any, response: Any, *args: Any, **kwargs: Any) -> Any:
        response = finalize(request, response, *args, **kwargs)
        if result.denied:
            return refused(result, response)
        return finished(result, response, request._request)  # noqa: SLF001 - its public way to Django's request

    view.finalize_response = finalized


def _limits(limits: str | Limit | Sequence[str | Limit]) -> tuple[str | Limit, ...]:
    return tuple(limits) if isinstance(limits, list | tuple) else (cast("str | Limit", limits),)


def _named(
    policy: Policy, names: tuple[str, str], limits: tuple[str | Limit, ...], kind: Any, *, own: bool
) -> BoundRule:
    def bind() -> BoundRule:
        policy.check_workers()
        key = partial(_own_key, kind) if own else kind.key
        return policy.bind(Rule(*limits, key=key, cost=kind.cost), *names)

    return bound_once(policy, kind.bindings, (names, limits, kind, own), bind)


def _own_key(throttle: type, request: Request) -> str:
    """The key by which a throttle class counts the request."""
    key: str = getattr(request.raw._request, OWN_KEYS)[throttle]  # noqa: SLF001 - its public way to Django's request
    return key


def _request(request: Any) -> Request:
    """Django's request, with the user that the API authenticated."""
    seen = translate(request._request)  # noqa: SLF001 - its public way to Django's request
    return Request(
        method=seen.method,
        path=seen.path,
        peer=seen.peer,
        headers=seen.headers,
        raw=request,
        user=lambda: user_text(request.user),
        already_charged=seen.already_charged,
        path_params=lambda: seen.path_params,
        mount=seen.mount,
        bridge=seen.bridge,
    )
