"""A Rule: which requests are limited, by what, and how much each costs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from ratelimit_kit.core.limits import Limit
from ratelimit_kit.core.options import known_options
from ratelimit_kit.errors import OptionError
from ratelimit_kit.gate import OnOutage, outage_policy
from ratelimit_kit.limiter import read_limits
from ratelimit_kit.stores import Charge
from ratelimit_kit.stores.keys import scoped
from ratelimit_kit.web.keys import Key, read_key
from ratelimit_kit.web.paths import Pattern, read_paths
from ratelimit_kit.web.request import Request

_METHOD = re.compile(r"[A-Z]+", re.ASCII)


class Rule:
    """Limits for the requests that match.

    Args:
        limits: text such as "100/minute", or limits; all must admit a request.
        key: what to count by: "ip", "user", "header:NAME", "global", a callable of the request,
            or a list of those for their combination.
        paths: "/login", a prefix ending in a slash and a star, or compiled regular expressions; default: every path.
        methods: ["POST"]; default: every method.
        when: a callable of the request; the rule applies when it returns true.
        cost: units per request, or a callable of the request that returns them.
        name: stands in the RateLimit fields, the problem body and the store's keys; default: by
            position in the policy ("rule-1").
        on_outage: "allow", "local", "deny" or "raise" when the store fails; default: the policy's.
    """

    @known_options
    def __init__(
        self,
        *limits: str | Limit,
        key: Key = "ip",
        paths: Iterable[Pattern] | None = None,
        methods: Iterable[str] | None = None,
        when: Callable[[Request], bool] | None = None,
        cost: int | Callable[[Request], int] = 1,
        name: str | None = None,
        on_outage: OnOutage | None = None,
    ) -> None:
        self.limits = read_limits(limits)
        self.key = read_key(key)
        self.name = None if name is None else check_name(name)
        self.on_outage = None if on_outage is None else outage_policy(on_outage)
        self._path = None if paths is None else read_paths("paths", _some("paths", paths))
        self._methods = None if methods is None else frozenset(_method(word) for word in _some("methods", methods))
        if when is not None and not callable(when):
            raise OptionError(
                f"when={when!r} is no callable: give one that takes the request and returns true or false"
            )
        self._when = when
        if not callable(cost):
            for limit in self.limits:
                limit.check_cost(cost)
        self._cost = cost

    def __repr__(self) -> str:
        limits = "; ".join(str(limit) for limit in self.limits)
        return f"Rule({limits!r}, name={self.name!r})"

    def matches(self, request: Request) -> bool:
        """Whether this rule limits the request."""
        return (
            (self._path is None or self._path(request.path))
            and (self._methods is None or request.method in self._methods)
            and (self._when is None or bool(self._when(request)))
        )

    def charges(self, namespace: str, name: str, identity: str, request: Request) -> list[Charge]:
        """What the request is charged, one Charge per limit."""
        cost = self._cost(request) if callable(self._cost) else self._cost
        text = scoped(namespace, scoped(name, identity))
        return [Charge(text, limit, cost) for limit in self.limits]


def check_name(name: str) -> str:
    """The name, when it can be sent in a structured field (printable ASCII); else OptionError."""
    if not isinstance(name, str) or not name or not name.isascii() or not name.isprintable():
        raise OptionError(
            f"name={name!r} cannot be sent in the RateLimit fields, which take printable ASCII: write for example name='login'"
        )
    return name


def _some(option: str, values: Iterable[Pattern]) -> list[Pattern]:
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise OptionError(f"{option}={values!r} is no list: write {option}=[{values!r}]")
    listed = list(values)
    if not listed:
        raise OptionError(f"{option}=[] matches no request, so the rule would limit nothing: leave it out to match all")
    return listed


def _method(word: Pattern) -> str:
    if not isinstance(word, str) or not _METHOD.fullmatch(word.upper()):
        raise OptionError(f"methods: {word!r} is no HTTP method: write for example methods=['POST']")
    return word.upper()
