"""The compiled rules of a policy on its store: one value that decides requests, replaced as a whole on a reload.

All rules that match a request are decided in one call to the store. Shadow rules follow in a second call, after the
request has passed, so that they do not affect the others.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, get_args

from ratelimit_kit.core.decision import Decision
from ratelimit_kit.core.limit import Limit, check_room
from ratelimit_kit.core.validation import naming, nearest
from ratelimit_kit.environment import MODE, variable
from ratelimit_kit.errors import OptionError
from ratelimit_kit.guarded_store import GuardedStore
from ratelimit_kit.outage import ALLOW, LOCAL, Fallback, Meanwhile, OnOutage, Outcomes, is_local, meanwhile
from ratelimit_kit.stores import Scope, Store
from ratelimit_kit.web.http.messages import Request
from ratelimit_kit.web.identity.address import ClientAddress
from ratelimit_kit.web.policy.reports import Asked, Reports
from ratelimit_kit.web.response.denial import Respond
from ratelimit_kit.web.response.responder import Responder
from ratelimit_kit.web.response.result import PASS, CheckResult
from ratelimit_kit.web.rules.charges import NOTHING, BoundRule, LocalPlace, RequestCharges
from ratelimit_kit.web.rules.matching import Matching
from ratelimit_kit.web.rules.rule import Exempt, Rule

Mode = Literal["enforce", "shadow", "off"]

OwnOutage = tuple[OnOutage | None, tuple[Limit, ...] | None]
"""The `on_outage` and the `fallback` of a rule; None means the policy's."""


class RuleSet:
    """Decides requests by `rules` on `store`; `name` is the namespace of its keys; the options are those of Policy."""

    def __init__(
        self,
        rules: Sequence[Rule],
        store: GuardedStore,
        name: str,
        *,
        trusted_proxies: Iterable[str] | int = (),
        client_header: str = "x-forwarded-for",
        ipv6_prefix: int = 64,
        headers: str = "draft11",
        expose_headers: bool = True,
        exempt: Exempt = (),
        on_outage: OnOutage = "local",
        fallback: Fallback | None = None,
        mode: Mode = "enforce",
        denial: Respond | None = None,
        cost_status: int = 429,
        reports: Reports | None = None,
    ) -> None:
        self.name = name
        self.mode: Mode = _mode(mode)
        self.meanwhile = meanwhile(on_outage, fallback, LOCAL)
        self.store = store
        address = ClientAddress(trusted_proxies, ipv6_prefix, client_header)
        self.matching = Matching(rules, name, address, exempt, _place(store.store))
        for bound in self.matching.rules:
            self.check_rule(bound.rule, bound.name)
        self.responder = Responder(
            store, headers=headers, expose_headers=expose_headers, denial=denial, cost_status=cost_status
        )
        self._reports = reports or Reports(store, name)

    def renewed(self, rules: Sequence[Rule], **options: Any) -> RuleSet:
        """A rule set with other rules and options on the same store, under the same name."""
        return RuleSet(rules, self.store, self.name, reports=self._reports, **options)

    def check_rule(self, rule: Rule, name: str) -> None:
        """Raise the error for a rule that this store has no room for, or whose fallback contradicts the policy."""
        with naming(f"rule {name!r}"):
            check_room(rule.limits, self.store.backend.max_numbers, self.store.backend.title)
            self.meanwhile.changed_by(rule.on_outage, rule.fallback)

    def outcomes(self, decorated: Mapping[str, OwnOutage]) -> Outcomes:
        """What happens in an outage under each rule that may refuse; those of decorators are given by name."""
        enforced = [bound for bound in self.matching.rules if not bound.rule.shadow]
        own = {**decorated, **{bound.name: (bound.rule.on_outage, bound.rule.fallback) for bound in enforced}}
        return Outcomes(
            self.meanwhile,
            {name: self.meanwhile.changed_by(*words) for name, words in own.items()},
            frozenset(bound.name for bound in enforced if bound.rule.always and not bound.rule.messages),
            enforced=self.mode == "enforce" and bool(own or not self.matching.rules),
        )

    def check(
        self, request: Request, bound: Sequence[BoundRule] | None = None, beside: Sequence[Rule] = ()
    ) -> CheckResult:
        """Decide a request under every rule that matches it.

        `bound` are the rules of a decorator, and `beside` the others on the same page; None means the policy's own.
        """
        if self.mode == "off":
            return PASS
        if self._reports.wary:
            self._notice_proxy(request)
        charges = self.matching.charges(request, bound, beside)
        if not charges.by_rule:
            return PASS
        enforced, watched = (NOTHING, charges) if self.mode == "shadow" else charges.split()
        if enforced.impossible:
            return self._refuse_cost(request, enforced)
        result, asked = PASS, Asked()
        if enforced.by_rule:
            decision = self._ask(enforced, enforced.meanwhile(self.meanwhile), asked)
            result = self._settle(request, enforced, decision)
        if watched.impossible and not result.denied:
            asked.impossible, watched = watched.impossible, watched.possible()
        if watched.by_rule and not result.denied:
            result = self._watch(request, watched, self._ask(watched, ALLOW, asked, shadow=True), result)
        if asked or asked.impossible:
            self._reports.report(asked)
        return result

    async def acheck(
        self, request: Request, bound: Sequence[BoundRule] | None = None, beside: Sequence[Rule] = ()
    ) -> CheckResult:
        """Do what `check` does."""
        if self.mode == "off":
            return PASS
        if self._reports.wary:
            self._notice_proxy(request)
        charges = await self.matching.acharges(request, bound, beside)
        if not charges.by_rule:
            return PASS
        enforced, watched = (NOTHING, charges) if self.mode == "shadow" else charges.split()
        if enforced.impossible:
            return await self._arefuse_cost(request, enforced)
        result, asked = PASS, Asked()
        if enforced.by_rule:
            decision = await self._aask(enforced, enforced.meanwhile(self.meanwhile), asked)
            result = await self._asettle(request, enforced, decision)
        if watched.impossible and not result.denied:
            asked.impossible, watched = watched.impossible, watched.possible()
        if watched.by_rule and not result.denied:
            result = self._watch(request, watched, await self._aask(watched, ALLOW, asked, shadow=True), result)
        if asked or asked.impossible:
            self._reports.report(asked)
        return result

    def _notice_proxy(self, request: Request) -> None:
        """Check the request for a misconfigured proxy, unless its path is exempt."""
        if not self.matching.frees_path(request):
            self._reports.notice_proxy(self.matching.address, request)

    def _ask(self, charges: RequestCharges, meanwhile: Meanwhile, asked: Asked, *, shadow: bool = False) -> Decision:
        """The store's decision on all charges, in one step; `asked` takes what is to be reported."""
        if not (self._reports.counting or shadow):
            return self.store.decide(charges.charges, meanwhile, charges.provisional)
        begun = time.perf_counter()
        decision = self.store.decide(charges.charges, meanwhile, charges.provisional)
        asked.append((charges.by_rule, decision, time.perf_counter() - begun, shadow))
        return decision

    async def _aask(
        self, charges: RequestCharges, meanwhile: Meanwhile, asked: Asked, *, shadow: bool = False
    ) -> Decision:
        """Do what `_ask` does."""
        if not (self._reports.counting or shadow):
            return await self.store.adecide(charges.charges, meanwhile, charges.provisional)
        begun = time.perf_counter()
        decision = await self.store.adecide(charges.charges, meanwhile, charges.provisional)
        asked.append((charges.by_rule, decision, time.perf_counter() - begun, shadow))
        return decision

    def _settle(self, request: Request, charges: RequestCharges, decision: Decision) -> CheckResult:
        """The result of the enforced rules."""
        if not decision.allowed:
            return self.responder.denied(request, charges, decision)
        _note(request, charges, decision)
        return self.responder.allowed(request, charges, decision)

    async def _asettle(self, request: Request, charges: RequestCharges, decision: Decision) -> CheckResult:
        """Do what `_settle` does."""
        if not decision.allowed:
            return await self.responder.adenied(request, charges, decision)
        _note(request, charges, decision)
        return self.responder.allowed(request, charges, decision)

    def _watch(self, request: Request, charges: RequestCharges, decision: Decision, result: CheckResult) -> CheckResult:
        """The result after the shadow rules, which refuse nobody."""
        _note(request, charges, decision)
        return self.responder.watched(result, charges, decision)

    def _refuse_cost(self, request: Request, charges: RequestCharges) -> CheckResult:
        self._reports.tell_of_impossible(charges.impossible, shadow=False)
        return self.responder.too_costly(request, charges)

    async def _arefuse_cost(self, request: Request, charges: RequestCharges) -> CheckResult:
        self._reports.tell_of_impossible(charges.impossible, shadow=False)
        return await self.responder.atoo_costly(request, charges)


def _note(request: Request, charges: RequestCharges, decision: Decision) -> None:
    """Record what was charged, so that it is not charged again, here or in the store; a refusal charges nothing."""
    if not decision.allowed:
        return
    if not decision.degraded:
        request.already_charged.append(charges)
    elif is_local(decision):
        request.already_charged.append(RequestCharges(charges.by_rule, LocalPlace(charges.place)))


def _place(store: Store) -> object:
    """Where charges count, to be compared: this very store, or what its name says if processes share it."""
    return store if store.scope is Scope.PROCESS else repr(store)


def _mode(mode: Any) -> Mode:
    """The mode; RATELIMIT_KIT_MODE overrides the option, as the switch for a rollback."""
    override = variable(MODE)
    word = override or mode
    if word not in get_args(Mode):
        given = f"{MODE}={override!r}" if override else f"mode={mode!r}"
        raise OptionError(f"{given} is not a mode; {nearest(word, get_args(Mode))}")
    return word  # type: ignore[return-value]
