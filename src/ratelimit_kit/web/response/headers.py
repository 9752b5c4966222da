"""The families of rate-limit response fields, as data in one table.

draft11      RateLimit and RateLimit-Policy of draft-ietf-httpapi-ratelimit-headers-11 (an
             Internet-Draft, not yet a standard): structured field lists, one item per limit
draft6       the older triple RateLimit-Limit, -Remaining, -Reset (seconds) and RateLimit-Policy
x-ratelimit  X-RateLimit-Limit, -Remaining, -Reset (seconds since the epoch, as on GitHub)
none         no fields except Retry-After
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from ratelimit_kit.core.decision import Verdict
from ratelimit_kit.core.durations import MICROSECONDS
from ratelimit_kit.core.fixed_window import FixedWindow
from ratelimit_kit.core.limit import FOREVER, Limit
from ratelimit_kit.core.sliding_window import SlidingWindow
from ratelimit_kit.web.http.messages import Header, Response

LISTS: Final = frozenset({"ratelimit", "ratelimit-policy", "access-control-expose-headers"})
"""Fields that are lists: another field line adds items instead of replacing them."""

_ABOUT_LIMITS: Final = re.compile("(?i)^(x-)?ratelimit|^access-control-expose-headers$")
"""The names of the fields about a client's limits."""

NOTHING: Final[Mapping[str, str]] = MappingProxyType({})

_OURS: Final = frozenset({"RateLimit", "RateLimit-Policy"})
"""The list fields that a family writes."""


class Parameters(NamedTuple):
    """The parameter names of a draft; renaming `left` and `effective` is pending in the working group."""

    quota: str
    window: str
    left: str
    effective: str


DRAFT11: Final = Parameters(quota="q", window="w", left="r", effective="t")


Item = tuple[str, Verdict]
"""One limit in a response: its name there, and its verdict."""


class Quota(NamedTuple):
    """A limit as the drafts describe it: `quota` units per `window`, in whole seconds.

    No limit exceeds 2**40, so every number here fits in a structured field, which allows 15 digits (RFC 9651, 3.3.1).
    """

    quota: int
    window: int


@lru_cache(maxsize=4096)
def quota(limit: Limit) -> Quota:
    """The quota of a limit; for a token bucket, its burst per refill time, so that no more remains than the quota."""
    return Quota(limit.max_cost, max(1, -(-_span(limit) // MICROSECONDS)))


def _span(limit: Limit) -> int:
    if isinstance(limit, FixedWindow):
        return limit.span.nominal * MICROSECONDS
    return limit.window if isinstance(limit, SlidingWindow) else limit.max_lifetime


def retry_after(seconds: float) -> Header:
    """The Retry-After field, in whole seconds rounded up: never early, never 0 (RFC 9110, 10.2.3)."""
    return ("Retry-After", str(max(1, math.ceil(seconds))))


def strictness(verdict: Verdict) -> tuple[bool, int, int]:
    """The order of verdicts, strictest first: a refusal with the longest wait, else the fewest units left, for longest."""
    return verdict.allowed, verdict.remaining if verdict.allowed else -verdict.wait, -verdict.reset


def _effective_window(verdict: Verdict, limit: Quota, age: int) -> int:
    """The draft's `t`: seconds to the next unit, stretched so that r/t never exceeds the policy's rate, less the age.

    It never exceeds Retry-After, which a denial with units left would otherwise contradict.
    """
    if verdict.wait >= FOREVER:  # under a limit of 0: a client that tries again all the same does so once a window
        return limit.window
    t, paced = verdict.wait, -(-verdict.remaining * limit.window // limit.quota) * MICROSECONDS
    if paced > t if verdict.allowed else 0 < paced < t:
        t = paced
    return -((age - t) // MICROSECONDS) if t > age else 1


class Aged(NamedTuple):
    """A verdict, and how many microseconds ago it was given: a client reckons from when it gets the response."""

    verdict: Verdict
    age: int


class _Lists:
    """The two lists of the newer drafts, with one item per limit."""

    def __init__(self, names: Parameters) -> None:
        self._names = names
        self._written: dict[tuple[str, str], tuple[str, str, Quota]] = {}

    def __call__(self, items: Sequence[Item], age: int = 0, beside: Sequence[Aged] = ()) -> list[Header]:  # noqa: ARG002 - those have items of their own
        """The fields for verdicts that are `age` microseconds old."""
        effective = self._names.effective
        policies, states = [], []
        for name, verdict in items:
            limit = verdict.limit
            policy, state, allowed = self._written.get((name, limit.id)) or self._write(name, limit)
            policies.append(policy)
            states.append(f"{state}{verdict.remaining};{effective}={_effective_window(verdict, allowed, age)}")
        return [("RateLimit-Policy", ", ".join(policies)), ("RateLimit", ", ".join(states))]

    def _write(self, name: str, limit: Limit) -> tuple[str, str, Quota]:
        """The constant parts of an item: its policy, the beginning of its state, and its quota."""
        text = '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
        allowed = quota(limit)
        policy = f"{text};{self._names.quota}={allowed.quota};{self._names.window}={allowed.window}"
        if len(self._written) >= 4096:  # there may be many limits if they depend on the request
            self._written.clear()
        self._written[name, limit.id] = policy, f"{text};{self._names.left}=", allowed
        return self._written[name, limit.id]


class OneLimit:
    """The older triple, which shows one limit: the strictest of all that have decided about the request.

    `beside` are the verdicts of others, such as those of the policy for a decorator.
    """

    def __init__(self, prefix: str, reset: Callable[[float], int], *, policies: bool) -> None:
        self._prefix = prefix
        self._reset = reset
        self._policies = policies

    def __call__(self, items: Sequence[Item], age: int = 0, beside: Sequence[Aged] = ()) -> list[Header]:
        """The fields for verdicts that are `age` microseconds old."""
        candidates = [*(Aged(verdict, age) for _, verdict in items), *beside]
        verdict, age = min(candidates, key=lambda one: strictness(one.verdict))
        wait = verdict.wait if verdict.wait < FOREVER else quota(verdict.limit).window * MICROSECONDS
        fields = [
            (f"{self._prefix}-Limit", str(verdict.limit.max_cost)),
            (f"{self._prefix}-Remaining", str(verdict.remaining)),
            (f"{self._prefix}-Reset", str(self._reset(max(0, (wait or verdict.reset) - age) / MICROSECONDS))),
        ]
        if self._policies:
            fields.append(("RateLimit-Policy", ", ".join("{};w={}".format(*quota(one.limit)) for _, one in items)))
        return fields


def no_fields(items: Sequence[Item], age: int = 0, beside: Sequence[Aged] = ()) -> list[Header]:  # noqa: ARG001 - one signature for all families
    """No fields."""
    return []


Family = Callable[[Sequence[Item], int, Sequence[Aged]], list[Header]]

FAMILIES: Final[dict[str, Family]] = {
    "draft11": _Lists(DRAFT11),
    "draft6": OneLimit("RateLimit", math.ceil, policies=True),
    "x-ratelimit": OneLimit("X-RateLimit", lambda seconds: math.ceil(time.time() + seconds), policies=False),
    "none": no_fields,
}


def to_add(
    fields: Sequence[Header], response: Response, *, exposed: bool = False, written: Mapping[str, str] = NOTHING
) -> list[Header]:
    """The fields to add to a response: list fields always, the others only if it does not have them.

    Those of `written`, which has what was written for the same request before, are replaced. A redirect gets none,
    because a client might wait before following it (the draft advises this); neither does a response that caches may
    share, because the numbers belong to one client. `exposed` lets scripts from other origins read the fields (CORS).
    """
    present = response.headers
    if 300 <= response.status < 400 or is_shared(present):
        return []
    added = [
        field
        for field in fields
        if field[0] in _OURS or field[0] not in present or (written and present[field[0]] == written.get(field[0]))
    ]
    return [*added, exposing(added)] if exposed and added else added


def replaced(fields: Sequence[Header]) -> set[str]:
    """The names, in lower case, of the fields that replace others of their name: those that are no lists."""
    if not fields or fields[0][0] in _OURS:  # a family writes its lists last
        return set()
    return {name.lower() for name, _ in fields} - LISTS


def missing(fields: Sequence[Header], status: int, present: Mapping[str, str]) -> list[Header]:
    """The fields of a refusal that a response written by somebody else lacks; items are added to those of its lists.

    As in `to_add`, a redirect and a response that caches may share get none about limits.
    """
    told = 300 <= status < 400 or is_shared(present)
    return [
        (name, value)
        for name, value in fields
        if (name not in present or (name.lower() in LISTS and value not in present[name]))
        and not (told and _ABOUT_LIMITS.search(name))
    ]


def join_to(headers: Any, fields: Sequence[Header]) -> None:
    """Set fields in a framework's header mapping; list fields are appended to existing ones."""
    for name, value in fields:
        joined = name.lower() in LISTS and name in headers
        headers[name] = f"{headers[name]}, {value}" if joined else value


def exposing(fields: Sequence[Header]) -> Header:
    """The field that lets scripts from another origin read these fields and Retry-After (Fetch standard, 3.3.3)."""
    names = dict.fromkeys([*(name for name, _ in fields), "Retry-After"])
    return ("Access-Control-Expose-Headers", ", ".join(names))


def is_shared(headers: Mapping[str, str]) -> bool:
    """Whether a shared cache may store a response: it came from one, or says how long it is fresh (RFC 9111, 4.2.1).

    A `private` or `no-store` response is not shared. A field for one kind of cache overrides Cache-Control there (RFC
    9213), so each is examined separately.
    """
    if _CACHING.isdisjoint(map(str.lower, headers)):
        return False
    if "age" in headers:
        return True
    if "x-accel-expires" in headers and headers["x-accel-expires"].strip() != "0":  # nginx then ignores others
        return True
    for name in _CDN_CONTROLS:
        if name in headers and not _keeps_out(headers[name]):
            return True
    control = headers.get("cache-control", "")
    fresh = "expires" in headers or not _FRESH.isdisjoint(_directives(control))
    return fresh and not _keeps_out(control)


def _keeps_out(control: str) -> bool:
    """Whether a directive keeps shared caches out; `private="set-cookie"` concerns only one field."""
    found = _directives(control)
    return "no-store" in found or found.get("private") == ""


def _directives(control: str) -> dict[str, str]:
    """The directives of a Cache-Control field in lower case, with their arguments."""
    return {name.lower(): argument for name, argument in _DIRECTIVE.findall(control)}


_FRESH: Final = frozenset({"max-age", "s-maxage", "public", "stale-while-revalidate", "immutable"})

_CDN_CONTROLS: Final = (
    "cdn-cache-control",
    "surrogate-control",
    "cloudflare-cdn-cache-control",
    "vercel-cdn-cache-control",
    "netlify-cdn-cache-control",
    "edge-control",
)

_DIRECTIVE: Final = re.compile(r'([^\s,;="]+)\s*(?:=\s*("[^"]*"|[^\s,;"]*))?')

_CACHING: Final = frozenset({"age", "cache-control", "expires", "x-accel-expires", *_CDN_CONTROLS})
"""The fields about caching; most responses have none."""
