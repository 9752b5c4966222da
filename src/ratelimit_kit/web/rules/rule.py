"""A Rule: which requests are limited, by what, how much each costs, and which of them count.

A rule knows neither store nor namespace; `charges.py` turns it into charges.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any
from weakref import WeakKeyDictionary

from ratelimit_kit.core.grammar import read_limits
from ratelimit_kit.core.limit import UNLIMITED, Limit, Unlimited
from ratelimit_kit.core.validation import alike, check_switch, known_options
from ratelimit_kit.errors import OptionError, QuotaError
from ratelimit_kit.outage import LOCAL, Fallback, OnOutage, fallback_limits, outage_policy
from ratelimit_kit.web.callables import AtOnce, acalled, called, check_callable
from ratelimit_kit.web.http.messages import Request, Response
from ratelimit_kit.web.identity.keys import Key, read_key
from ratelimit_kit.web.rules.counting import read_count
from ratelimit_kit.web.rules.paths import PathPatterns, Pattern, read_exempt_paths

_METHOD = re.compile(r"[A-Z]+", re.ASCII)

_METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH")
"""The methods of RFC 9110 and RFC 5789; others are accepted unless they look like a misspelling of these."""

Limits = str | Limit | Unlimited | Sequence[str | Limit | Unlimited] | None
Tiers = Callable[[Request], Limits | Awaitable[Limits]]
Test = Callable[[Request], Any]
Exempt = Iterable[Pattern] | Test
Count = str | Iterable[int] | Callable[[Response], Any]


class Rule:
    """Limits for the requests that match.

    Args:
        limits: text such as "100/minute", or limit objects; all must admit a request. Or a single callable of the
            request that returns them, such as a lookup of the user's plan; UNLIMITED or None makes no charge, and a limit of
            0 refuses everything.
        key: what to count by: "ip", "user", "header:NAME", "cookie:NAME", "path:NAME", "global", a callable
            of the request, or a list of those for their combination.
        paths: "/login", a prefix ending in a slash and a star, or compiled regular expressions; default: every path.
            Each is compared with every spelling of the path that a router may accept.
        methods: ["POST"]; default: every method. "GET" includes HEAD, unless another rule names HEAD. Without methods,
            CORS preflights have a separate budget of the same size.
        when: a callable of the request; the rule applies when it returns true.
        exempt: paths that the rule does not limit, or a callable of the request.
        cost: units per request, or a callable of the request that returns them. A request that costs more than a limit
            can ever admit is refused, with 429 and no Retry-After.
        count: which responses count: "all", "failures" (status 400 and above), "successes", a list of
            statuses, or a callable of the response; the others are refunded.
        shadow: count and report, but refuse nobody.
        messages: count each message that a WebSocket receives, instead of requests (ASGI only).
        name: appears in the RateLimit fields, the problem body and the store's keys; default: by
            position in the policy ("rule-1").
        on_outage: what to do when the store fails: "local", "local-share", "deny", "allow" or "raise"; default: the policy's.
        fallback: limits to apply instead while processes count on their own; default: the policy's.
        inherit: whether a changed number goes on from what was counted under the old one; False begins a new counter.

    In async integrations and in Django the callables may be coroutine functions.
    """

    @known_options
    def __init__(
        self,
        *limits: str | Limit | Unlimited | Tiers,
        key: Key = "ip",
        paths: Iterable[Pattern] | None = None,
        methods: Iterable[str] | None = None,
        when: Test | None = None,
        exempt: Exempt = (),
        cost: int | Callable[[Request], int | Awaitable[int]] = 1,
        count: Count = "all",
        shadow: bool = False,
        messages: bool = False,
        name: str | None = None,
        on_outage: OnOutage | None = None,
        fallback: Fallback | None = None,
        inherit: bool = True,
    ) -> None:
        self.tiers = check_callable("limits", limits[0], "request") if limits and callable(limits[0]) else None
        if self.tiers is not None and len(limits) > 1:
            raise OptionError("a callable replaces all limits of a rule: let it return the others too")
        self.inherit = check_switch("inherit", inherit)
        self.limits = () if self.tiers is not None else read_limits(limits, inherit=inherit)  # type: ignore[arg-type]
        self.key = read_key(key)
        self.name = None if name is None else check_name(name)
        self.on_outage = None if on_outage is None else outage_policy(on_outage)
        self.fallback = fallback_limits(fallback)
        LOCAL.changed_by(self.on_outage, self.fallback)
        self.counts = read_count(count)
        self.shadow = check_switch("shadow", shadow)
        self.messages = check_switch("messages", messages)
        if self.messages and self.counts is not None:
            raise OptionError("messages=True has no responses to check: leave out count")
        self.paths = None if paths is None else PathPatterns("paths", _some("paths", paths))
        self.methods = None if methods is None else frozenset(_method(word) for word in _some("methods", methods))
        self.names_head = self.methods is not None and "HEAD" in self.methods and not self.shadow
        self._exempt = read_exempt(exempt)
        if when is not None and not callable(when):
            raise OptionError(f"when must be a callable that takes the request and returns true or false, got {when!r}")
        self._when = None if when is None else check_callable("when", when, "request")
        by_itself = type(self).matches is not Rule.matches or type(self).amatches is not Rule.amatches
        asks = when is not None or self._exempt is not None or by_itself
        self.always = paths is None and methods is None and not asks
        self.by_index = not asks and (self.paths is None or not self.paths.expressions)
        if callable(cost):
            check_callable("cost", cost, "request")
        else:
            for limit in self.limits:
                limit.check_cost(cost)
        self.cost = cost
        self.bindings: WeakKeyDictionary[Any, dict[Any, Any]] = (
            WeakKeyDictionary()
        )  # what decorators make of it, by policy

    def __repr__(self) -> str:
        limits = "; ".join(str(limit) for limit in self.limits) or repr(self.tiers or UNLIMITED)
        return f"Rule({limits!r}, name={self.name!r})"

    def matches(self, request: Request) -> bool:
        """Whether this rule limits the request."""
        return (
            self._is_for(request)
            and (self._exempt is None or not called(self._exempt, request))
            and (self._when is None or bool(called(self._when, request)))
        )

    async def amatches(self, request: Request) -> bool:
        """Do what `matches` does."""
        return (
            self._is_for(request)
            and (self._exempt is None or not await acalled(self._exempt, request))
            and (self._when is None or bool(await acalled(self._when, request)))
        )

    def of_preflights(self) -> Rule:
        """A rule with the same limits for CORS preflights, which identify no user: by address, one unit each."""
        limits = self.limits if self.tiers is None else (self.tiers,)
        return Rule(
            *(limits or [UNLIMITED]),
            key="ip",
            shadow=self.shadow,
            on_outage=self.on_outage,
            fallback=self.fallback,
            inherit=self.inherit,
        )

    def _is_for(self, request: Request) -> bool:
        """Whether path and method match; HEAD also matches rules for GET, unless another rule names HEAD."""
        if self.paths is not None and not self.paths.match(request.spellings):
            return False
        if self.methods is None or request.method in self.methods:
            return True
        return request.method == "HEAD" and request.answers_as_get and "GET" in self.methods


@lru_cache(maxsize=1024)
def _read(limits: tuple[str | Limit | Unlimited, ...], inherit: bool) -> tuple[Limit, ...]:  # noqa: FBT001 - one caller
    return read_limits(limits, inherit=inherit)


def tier(limits: Any, rule: Rule) -> tuple[Limit, ...]:
    """The limits that a callable returned for a request; QuotaError if they are invalid. Texts are parsed only once."""
    several = tuple(limits) if isinstance(limits, list | tuple) else (UNLIMITED if limits is None else limits,)
    try:
        return _read(several, rule.inherit)
    except (QuotaError, TypeError) as error:
        name = getattr(rule.tiers, "__qualname__", repr(rule.tiers))
        raise QuotaError(
            f"the limits {name} returned {limits!r}, which is not a limit: return text such as '100/minute', or UNLIMITED "
            f"({str(error).removesuffix(' [RLK101]')})"
        ) from error


def read_exempt(exempt: Exempt) -> Test | None:
    """A test for exempt requests, by path or by a callable; None if none is exempt."""
    if callable(exempt):
        return check_callable("exempt", exempt, "request")
    listed = exempt if isinstance(exempt, str) else list(exempt) if isinstance(exempt, Iterable) else exempt
    if listed in ([], ()):
        return None
    return _ByPath(read_exempt_paths("exempt", listed))


class _ByPath(AtOnce):
    """A test of requests by their path."""

    def __init__(self, matches: Callable[[str, str], bool]) -> None:
        self._matches = matches

    def __call__(self, request: Request) -> bool:
        return self._matches(request.path, request.mount)


def check_name(name: str) -> str:
    """The name, if it can be sent in a structured field (printable ASCII); else OptionError."""
    if not isinstance(name, str) or not name or not name.isascii() or not name.isprintable():
        raise OptionError(
            f"name={name!r} cannot be sent in the RateLimit fields, which take printable ASCII. For example: name='login'"
        )
    return name


def _some(option: str, values: Iterable[Pattern]) -> list[Pattern]:
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise OptionError(f"{option}={values!r} is not a list: write {option}=[{values!r}]")
    listed = list(values)
    if not listed:
        raise OptionError(f"{option}=[] matches no request, so the rule would limit nothing: leave it out to match all")
    return listed


def _method(word: Pattern) -> str:
    if not isinstance(word, str) or not _METHOD.fullmatch(word.upper()):
        raise OptionError(f"methods: {word!r} is not an HTTP method. For example: methods=['POST']")
    method = word.upper()
    if method in {"ALL", "ANY"}:
        raise OptionError(f"methods: {word!r} is not an HTTP method: leave methods out to limit all of them")
    near = None if method in _METHODS else alike(method, _METHODS, 0.7)
    if near is not None:
        raise OptionError(
            f"methods: {word!r} is not an HTTP method, so the rule would limit nothing; did you mean {near!r}?"
        )
    return method
