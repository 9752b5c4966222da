"""What a policy does with requests, as one value that is replaced as a whole when its file changes.

Everything here can change while a server runs; the store, the name and what the guard has to know
cannot, and belong to the Policy itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Literal, get_args

from ratelimit_kit.core.decision import Decision, Verdict
from ratelimit_kit.core.validation import nearest
from ratelimit_kit.environment import MODE, variable
from ratelimit_kit.errors import OptionError
from ratelimit_kit.guarded_store import Gate, OnOutage, outage_policy
from ratelimit_kit.web.callables import acalled, called
from ratelimit_kit.web.http.messages import Header, Request
from ratelimit_kit.web.identity.address import ClientAddress
from ratelimit_kit.web.response.denial import Denial, Respond, say
from ratelimit_kit.web.response.headers import FAMILIES, Item, exposing, retry_after
from ratelimit_kit.web.response.result import PASS, Admission, Answer, DirectAnswer, Reserved
from ratelimit_kit.web.rules.charges import NOTHING, REMEMBERED, Claim, Claims, NamedRule, named_rules
from ratelimit_kit.web.rules.rule import Exempt, Rule, read_exempt

Mode = Literal["enforce", "shadow", "off"]

_STRICTEST: tuple[OnOutage, ...] = ("raise", "deny", "local", "allow")

_REASONS = {413: "Content Too Large", 429: "Too Many Requests", 503: "Service Unavailable"}


class Plan:
    """The rules of a policy and how it answers; the options are those of Policy."""

    def __init__(
        self,
        rules: Sequence[Rule],
        namespace: str,
        *,
        trusted_proxies: Iterable[str] | int = (),
        client_header: str = "x-forwarded-for",
        ipv6_prefix: int = 64,
        headers: str = "draft11",
        expose_headers: bool = True,
        exempt: Exempt = (),
        on_outage: OnOutage = "allow",
        mode: Mode = "enforce",
        denial: Respond | None = None,
        cost_status: int = 429,
    ) -> None:
        if cost_status not in {429, 413} or isinstance(cost_status, bool):
            raise OptionError(f"cost_status={cost_status!r} is neither 429 nor 413 (Content Too Large)")
        if headers not in FAMILIES:
            raise OptionError(f"headers={headers!r} is no family of fields; {nearest(str(headers), FAMILIES)}")
        if denial is not None and not callable(denial):
            raise OptionError(f"denial={denial!r} is no callable: give one that takes the Denial and returns the body")
        self.namespace = namespace
        self.mode: Mode = _mode(mode)
        self.on_outage = outage_policy(on_outage)
        self.address = ClientAddress(trusted_proxies, ipv6_prefix, client_header)
        self.named = named_rules(rules, namespace)
        self.rules = [named for named in self.named if not named.rule.messages]
        self.messages = [named for named in self.named if named.rule.messages]
        self._fields = FAMILIES[headers]
        self._exposed = expose_headers
        self._exempt = None if callable(exempt) else read_exempt(exempt)
        self._frees = exempt if callable(exempt) else None
        self._denial = denial
        self._cost_status = cost_status
        self._known: dict[tuple[int, ...], Claims] = {}

    def claims(self, request: Request, rules: Sequence[NamedRule], beside: Sequence[Rule] | None = None) -> Claims:
        """What the request is charged, under each of these rules that matches it.

        `beside` are the other rules of a decorated page; None says that the policy's own rules are asked for.
        """
        if self._frees is not None and called(self._frees, request):
            return NOTHING
        if beside is None and self._exempt is not None and called(self._exempt, request):
            return NOTHING
        if request.method == "HEAD":
            named_rules = [*(beside or ()), *(named.rule for named in rules)]
            named_head = [rule for rule in named_rules if rule.names_head and rule.matches(request)]
            request.answers_as_get = not named_head and not _names_head(request.ledger)
        preflight = request.method == "OPTIONS" and request.is_preflight()
        claims = []
        for named in rules:
            if named.rule.always or named.rule.matches(request):
                charged = (preflight and named.preflights) or named
                claims.append(charged.known(request, self.address) or charged.claim(request, self.address))
        return self._together(claims)

    async def aclaims(
        self, request: Request, rules: Sequence[NamedRule], beside: Sequence[Rule] | None = None
    ) -> Claims:
        """Do what `claims` does."""
        if self._frees is not None and await acalled(self._frees, request):
            return NOTHING
        if beside is None and self._exempt is not None and await acalled(self._exempt, request):
            return NOTHING
        if request.method == "HEAD":
            named_rules = [*(beside or ()), *(named.rule for named in rules)]
            named_head = [rule for rule in named_rules if rule.names_head and await rule.amatches(request)]
            request.answers_as_get = not named_head and not _names_head(request.ledger)
        preflight = request.method == "OPTIONS" and request.is_preflight()
        claims = []
        for named in rules:
            if named.rule.always or await named.rule.amatches(request):
                charged = (preflight and named.preflights) or named
                claims.append(charged.known(request, self.address) or await charged.aclaim(request, self.address))
        return self._together(claims)

    def frees_path(self, request: Request) -> bool:
        """Whether the policy's own rules leave the path alone, as that of a health check."""
        return self._exempt is not None and bool(self._exempt(request))

    def _together(self, claims: list[Claim]) -> Claims:
        """The claims of a request as one value; that of remembered ones, which it keeps alive, is remembered too."""
        ids = tuple([id(claim) for claim in claims])
        together = self._known.get(ids)
        if together is None:
            together = Claims(_different(claims))
            if all(claim.remembered for claim in claims):
                if len(self._known) >= REMEMBERED:
                    self._known.clear()
                self._known[ids] = together
        return together

    def strictest(self, claims: Claims) -> OnOutage:
        """What an outage means for a request under several rules."""
        if not claims.outages:
            return self.on_outage
        return min((one or self.on_outage for one in claims.outages), key=_STRICTEST.index)

    def admission(self, request: Request, gate: Gate, claims: Claims, decision: Decision) -> Answer:
        """The answer to a request that was admitted under enforced claims."""
        if decision.degraded:
            return PASS
        returns = reserved(claims, decision, shown=True)
        fields = self._fields if claims.plain else partial(_shown, self._fields)
        return Admission(_items(claims, decision), fields, gate, returns, self._is_exposed(request))

    def denial(self, request: Request, gate: Gate, claims: Claims, decision: Decision, on_outage: OnOutage) -> Answer:
        """The answer to a request that was refused."""
        quota = not decision.degraded or (on_outage == "local" and not gate.watch.closed)
        items = [] if decision.degraded else _items(claims, decision)
        if not claims.plain:
            items = _merged(items)
        names = [name for name, verdict in items if not verdict.allowed]
        limits = self._fields(items) if items else []
        return self._refusal(Denial(request, 429 if quota else 503, names, decision.retry_after), limits)

    def beyond(self, request: Request, claims: Claims) -> Answer:
        """The answer to a request that costs more than a limit ever admits: no wait helps."""
        names = list(dict.fromkeys(name for claim in claims.beyond for name in claim.items if name))
        return self._refusal(Denial(request, self._cost_status, names, math.inf), [])

    def _refusal(self, denial: Denial, limits: Sequence[Header]) -> Answer:
        status, data, fields = say(denial, self._denial)
        if denial.request.method == "HEAD":
            data = b""
        if denial.helps:
            fields = [*fields, retry_after(denial.retry_after)]
        fields = [*fields, *limits]
        if self._is_exposed(denial.request):
            fields.append(exposing(limits))
        return DirectAnswer(status, _REASONS.get(status, "Refused"), _once(fields), data)

    def _is_exposed(self, request: Request) -> bool:
        return self._exposed and "origin" in request.headers


def reserved(claims: Claims, decision: Decision, *, shown: bool) -> list[Reserved]:
    """What the response may give back; `shown` where the fields of the response speak of it."""
    if decision.degraded:
        return []
    return [
        Reserved(
            counts, claim.charges, Decision(decision.verdicts[at : at + len(claim.charges)]), at if shown else None
        )
        for counts, claim, at in claims.counted
    ]


def _different(claims: list[Claim]) -> list[Claim]:
    """The claims without repetitions: two rules of one name, as throttles may be, can be about the same counter."""
    if len({claim.rule.name for claim in claims}) == len(claims):
        return claims
    seen: set[tuple[str, str]] = set()
    different = []
    for claim in claims:
        new = [at for at, charge in enumerate(claim.charges) if (charge.key, charge.limit.id) not in seen]
        seen |= {(charge.key, charge.limit.id) for charge in claim.charges}
        if new:
            charges, items = [claim.charges[at] for at in new], [claim.items[at] for at in new]
            different.append(claim._replace(charges=charges, items=items))
    return different


def _items(claims: Claims, decision: Decision) -> list[Item]:
    return list(zip(claims.names, decision.verdicts, strict=True))


def _merged(items: Sequence[Item]) -> list[Item]:
    """One item for each name that is shown: of several identities under one rule, the one that has the least left."""
    merged: dict[str, Verdict] = {}
    for name, verdict in items:
        other = merged.get(name)
        if name and (other is None or _strictness(verdict) < _strictness(other)):
            merged[name] = verdict
    return list(merged.items())


def _strictness(verdict: Verdict) -> tuple[bool, int, int]:
    return verdict.allowed, -verdict.wait, verdict.remaining


def _shown(fields: Callable[[Sequence[Item]], list[Header]], items: Sequence[Item]) -> list[Header]:
    merged = _merged(items)
    return fields(merged) if merged else []


def _names_head(ledger: Sequence[Claims]) -> bool:
    """Whether a rule that names HEAD has been charged already, by the policy or another decorator."""
    return any(claim.rule.rule.names_head for claims in ledger for claim in claims.all)


def _once(fields: Sequence[Header]) -> list[Header]:
    """The fields, each name once: a denial's own words may have set one of ours already."""
    seen: dict[str, Header] = {}
    for field in fields:
        seen.setdefault(field[0].lower(), field)
    return list(seen.values())


def _mode(mode: str) -> Mode:
    """The mode, RATELIMIT_KIT_MODE before what is written: it is the switch for a rollback."""
    override = variable(MODE)
    word = override or mode
    if word not in get_args(Mode):
        given = f"{MODE}={override!r}" if override else f"mode={mode!r}"
        raise OptionError(f"{given} is no mode; {nearest(str(word), get_args(Mode))}")
    return word  # type: ignore[return-value]
