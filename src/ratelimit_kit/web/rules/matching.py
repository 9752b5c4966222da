"""Which rules limit a request, and what it is charged under them."""

from __future__ import annotations

from collections.abc import Sequence

from ratelimit_kit.web.http.messages import Request
from ratelimit_kit.web.identity.address import ClientAddress
from ratelimit_kit.web.rules.charges import NOTHING, BoundRule, RequestCharges, RuleCharges, bind_rules
from ratelimit_kit.web.rules.combined import Combined
from ratelimit_kit.web.rules.exemption import Exemption
from ratelimit_kit.web.rules.index import RuleIndex
from ratelimit_kit.web.rules.rule import Exempt, Rule


class Matching:
    """The rules of a policy, matched to requests: `rules` are all of them, `messages` those for WebSocket messages.

    They count in `place`: what another policy has charged there is not charged again.
    """

    __slots__ = ("_combined", "_exemption", "_index", "address", "messages", "rules")

    def __init__(
        self, rules: Sequence[Rule], namespace: str, address: ClientAddress, exempt: Exempt = (), place: object = None
    ) -> None:
        self.rules = bind_rules(rules, namespace)
        self.messages = [bound for bound in self.rules if bound.rule.messages]
        self.address = address
        self._index = RuleIndex([bound for bound in self.rules if not bound.rule.messages])
        self._exemption = Exemption(exempt)
        self._combined = Combined(place)

    def charges(
        self, request: Request, bound: Sequence[BoundRule] | None = None, beside: Sequence[Rule] = ()
    ) -> RequestCharges:
        """What the request is charged under each rule that matches it, without what has already been charged.

        `bound` are the rules of a decorator, and `beside` the others on the same page; None means the policy's own.
        """
        if self._exemption.exists and self._exemption.frees(request, own=bound is None):
            return NOTHING
        candidates = self._index.candidates(request) if bound is None else bound
        if request.method == "HEAD":
            heads = [rule for rule in _naming_head(candidates, beside) if rule.matches(request)]
            request.answers_as_get = not heads and not _has_named_head(request)
        indexed = bound is None and request.method != "HEAD"
        preflight = request.method == "OPTIONS" and request.is_preflight()
        found: list[RuleCharges] = []
        for one in candidates:
            if (indexed and one.by_index) or one.rule.always or one.rule.matches(request):
                charged = (preflight and one.preflights) or one
                made = charged.known(request, self.address) or charged.charges(request, self.address)
                if made.charges:
                    found.append(made)
        together = self._combined(found)
        return together.without(request.already_charged) if request.already_charged else together

    async def acharges(
        self, request: Request, bound: Sequence[BoundRule] | None = None, beside: Sequence[Rule] = ()
    ) -> RequestCharges:
        """Do what `charges` does."""
        if self._exemption.exists and await self._exemption.afrees(request, own=bound is None):
            return NOTHING
        candidates = self._index.candidates(request) if bound is None else bound
        if request.method == "HEAD":
            heads = [rule for rule in _naming_head(candidates, beside) if await rule.amatches(request)]
            request.answers_as_get = not heads and not _has_named_head(request)
        indexed = bound is None and request.method != "HEAD"
        preflight = request.method == "OPTIONS" and request.is_preflight()
        found: list[RuleCharges] = []
        for one in candidates:
            if (indexed and one.by_index) or one.rule.always or await one.rule.amatches(request):
                charged = (preflight and one.preflights) or one
                made = charged.known(request, self.address) or await charged.acharges(request, self.address)
                if made.charges:
                    found.append(made)
        together = self._combined(found)
        return together.without(request.already_charged) if request.already_charged else together

    def frees_path(self, request: Request) -> bool:
        """Whether the path is exempt from the policy's own rules, as that of a health check may be."""
        return self._exemption.frees_path(request)


def _naming_head(candidates: Sequence[BoundRule], beside: Sequence[Rule]) -> list[Rule]:
    return [rule for rule in (*beside, *(one.rule for one in candidates)) if rule.names_head]


def _has_named_head(request: Request) -> bool:
    """Whether a rule that names HEAD has been charged already, by the policy or another decorator."""
    return any(made.names_head() for made in request.already_charged)
