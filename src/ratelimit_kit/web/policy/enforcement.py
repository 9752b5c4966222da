"""How a request is decided: its claims under a plan, one question to the store, the answer for the front door.

Shadow rules are asked in a second question, after the request has passed, so that they change nothing
for the others.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from ratelimit_kit.core.decision import Decision
from ratelimit_kit.guarded_store import Gate, OnOutage
from ratelimit_kit.web.http.messages import Request
from ratelimit_kit.web.policy.reports import Reports
from ratelimit_kit.web.policy.ruleset import Plan, reserved
from ratelimit_kit.web.response.headers import no_fields
from ratelimit_kit.web.response.result import PASS, Admission, Answer
from ratelimit_kit.web.rules.charges import NOTHING, Claims, NamedRule
from ratelimit_kit.web.rules.rule import Rule


class Enforcement:
    """Decides requests at one gate."""

    def __init__(self, gate: Gate, name: str) -> None:
        self._gate = gate
        self._reports = Reports(gate, name)

    def check(
        self, plan: Plan, request: Request, rules: Sequence[NamedRule], beside: Sequence[Rule] | None = None
    ) -> Answer:
        """Decide a request under every one of the rules that matches it."""
        if plan.mode == "off":
            return PASS
        if self._reports.wary and not plan.frees_path(request):
            self._reports.look(plan.address, request)
        claims = plan.claims(request, rules, beside)
        if request.ledger:
            claims = claims.without(request.ledger)
        if not claims.all:
            return PASS
        enforced, watched = (NOTHING, claims) if plan.mode == "shadow" else claims.parted()
        answer = PASS
        if enforced.beyond:
            self._reports.tell_of_beyond(enforced.beyond, shadow=False)
            return plan.beyond(request, enforced)
        if enforced.all:
            on_outage = plan.strictest(enforced)
            decision = self._ask(enforced, on_outage, shadow=False)
            if not decision.allowed:
                return plan.denial(request, self._gate, enforced, decision, on_outage)
            answer = plan.admission(request, self._gate, enforced, decision)
            _note(request, enforced, decision)
        if watched.beyond:
            self._reports.tell_of_beyond(watched.beyond, shadow=True)
            watched = watched.possible()
        if watched.all:
            decision = self._ask(watched, "allow", shadow=True)
            answer = self._watched(answer, watched, decision)
            _note(request, watched, decision)
        return answer

    async def acheck(
        self, plan: Plan, request: Request, rules: Sequence[NamedRule], beside: Sequence[Rule] | None = None
    ) -> Answer:
        """Do what `check` does."""
        if plan.mode == "off":
            return PASS
        if self._reports.wary and not plan.frees_path(request):
            self._reports.look(plan.address, request)
        claims = await plan.aclaims(request, rules, beside)
        if request.ledger:
            claims = claims.without(request.ledger)
        if not claims.all:
            return PASS
        enforced, watched = (NOTHING, claims) if plan.mode == "shadow" else claims.parted()
        answer = PASS
        if enforced.beyond:
            self._reports.tell_of_beyond(enforced.beyond, shadow=False)
            return plan.beyond(request, enforced)
        if enforced.all:
            on_outage = plan.strictest(enforced)
            decision = await self._aask(enforced, on_outage, shadow=False)
            if not decision.allowed:
                return plan.denial(request, self._gate, enforced, decision, on_outage)
            answer = plan.admission(request, self._gate, enforced, decision)
            _note(request, enforced, decision)
        if watched.beyond:
            self._reports.tell_of_beyond(watched.beyond, shadow=True)
            watched = watched.possible()
        if watched.all:
            decision = await self._aask(watched, "allow", shadow=True)
            answer = self._watched(answer, watched, decision)
            _note(request, watched, decision)
        return answer

    def _ask(self, claims: Claims, on_outage: OnOutage, *, shadow: bool) -> Decision:
        """The store's decision over all claims, in one step."""
        if not self._reports.counting:
            return self._gate.decide(claims.charges, on_outage)
        begun = time.perf_counter()
        decision = self._gate.decide(claims.charges, on_outage)
        self._reports.count(claims.all, decision, time.perf_counter() - begun, shadow=shadow)
        return decision

    async def _aask(self, claims: Claims, on_outage: OnOutage, *, shadow: bool) -> Decision:
        """Do what `_ask` does."""
        if not self._reports.counting:
            return await self._gate.adecide(claims.charges, on_outage)
        begun = time.perf_counter()
        decision = await self._gate.adecide(claims.charges, on_outage)
        self._reports.count(claims.all, decision, time.perf_counter() - begun, shadow=shadow)
        return decision

    def _watched(self, answer: Answer, claims: Claims, decision: Decision) -> Answer:
        """The answer of the enforced rules, with what the others may give back."""
        self._reports.tell_of_shadow(claims.all, decision)
        returns = reserved(claims, decision, shown=False)
        if not returns:
            return answer
        if isinstance(answer, Admission):
            answer.reserved = [*answer.reserved, *returns]
            return answer
        return Admission([], no_fields, self._gate, returns, exposed=False)


def _note(request: Request, claims: Claims, decision: Decision) -> None:
    """Note what the store has really been charged, so that nobody charges it again: a refusal and an outage charge nothing."""
    if decision.allowed and not decision.degraded:
        request.ledger.append(claims)
