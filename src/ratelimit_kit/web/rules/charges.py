"""What a request is charged under a rule: the rule's name in a policy, its charges, what they are called in fields."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate
from typing import Any, NamedTuple

from ratelimit_kit.core.durations import spell
from ratelimit_kit.core.limits import FixedWindow, Limit, SlidingWindow
from ratelimit_kit.errors import CostError, OptionError
from ratelimit_kit.stores import Charge
from ratelimit_kit.stores.keys import LONGEST_TEXT, scoped, shortened
from ratelimit_kit.web.callables import acalled, called
from ratelimit_kit.web.http.messages import Request
from ratelimit_kit.web.identity.address import ClientAddress
from ratelimit_kit.web.identity.keys import aidentify, identify
from ratelimit_kit.web.rules.rule import Rule, check_name, tier

REMEMBERED = 4096
"""Clients whose claims are remembered, of a rule and of a policy: a flood of others only costs the making of theirs."""


class Claim(NamedTuple):
    """What a request is charged under one rule; `items` are the names of the charges in responses, "" of hidden ones.

    `beyond` is true where a limit never admits so high a cost; `repeated` where several identities are charged;
    `remembered` where the rule keeps the claim, for the next request of the same client.
    """

    rule: NamedRule
    charges: Sequence[Charge]
    items: Sequence[str]
    beyond: bool = False
    repeated: bool = False
    remembered: bool = False


class Claims:
    """What a request is charged under several rules in one step, and what they say together.

    `names` are those of the charges in responses; `plain` is true where each of them is to be shown as it is;
    `counted` are the claims of which some responses give back, with the place of their first charge; `beyond` are those
    that no limit ever admits; `outages` is what each rule wants of an outage, empty where all leave it to the policy.
    """

    __slots__ = ("all", "beyond", "charges", "counted", "names", "outages", "plain", "shadow")

    def __init__(self, claims: Sequence[Claim]) -> None:
        self.all = claims
        self.charges: tuple[Charge, ...] = tuple([charge for claim in claims for charge in claim.charges])
        self.names = [name for claim in claims for name in claim.items]
        self.plain = all(claim.rule.shown and not claim.repeated for claim in claims)
        self.beyond = [claim for claim in claims if claim.beyond]
        self.shadow = any(claim.rule.rule.shadow for claim in claims)
        outages = [claim.rule.rule.on_outage for claim in claims]
        self.outages = outages if any(outages) else []
        places = accumulate([len(claim.charges) for claim in claims], initial=0)
        self.counted = [
            (counts, claim, first)
            for claim, first in zip(claims, places, strict=False)
            if (counts := claim.rule.rule.counts) is not None
        ]

    def without(self, ledger: Sequence[Claims]) -> Claims:
        """What the request has not been charged already by another front door or a decorator.

        What a response may still give back has paid only for a rule that gives back on the same terms.
        """
        earlier = [(claim, charge) for claims in ledger for claim in claims.all for charge in claim.charges]
        new: list[Claim] = []
        for claim in self.all:
            paid: dict[tuple[str, str], int] = {}
            for other, charge in earlier:
                if other.rule.rule.counts is None or other.rule.rule.counts == claim.rule.rule.counts:
                    paid[charge.key, charge.limit.id] = paid.get((charge.key, charge.limit.id), 0) + charge.cost
            kept = [
                (charge._replace(cost=charge.cost - already), item)
                for charge, item in zip(claim.charges, claim.items, strict=True)
                if not (already := paid.get((charge.key, charge.limit.id), 0)) or already < charge.cost
            ]
            if kept:
                new.append(claim._replace(charges=[charge for charge, _ in kept], items=[item for _, item in kept]))
        return Claims(new)

    def parted(self) -> tuple[Claims, Claims]:
        """Those that are enforced, and those that only look."""
        if not self.shadow:
            return self, NOTHING
        enforced = [claim for claim in self.all if not claim.rule.rule.shadow]
        return Claims(enforced), Claims([claim for claim in self.all if claim.rule.rule.shadow])

    def possible(self) -> Claims:
        """Those that some limit may admit."""
        return Claims([claim for claim in self.all if not claim.beyond]) if self.beyond else self


NOTHING = Claims([])


class NamedRule:
    """A rule with its name in the namespace of a policy; `label` is what fields call it, where that is something else.

    What a client is charged under a rule whose limits and cost are fixed is made once and remembered for a while.
    `shown` is false of a rule that no field speaks of.
    """

    __slots__ = ("_made", "_plain", "_prefix", "fixed", "label", "name", "preflights", "rule", "shown")

    def __init__(self, rule: Rule, name: str, namespace: str, *, label: str | None = None, shown: bool = True) -> None:
        self.rule = rule
        self.name = name
        self.label = check_name(name if label is None else label) if shown else ""
        self.shown = shown
        self.fixed = rule.tiers is None and not callable(rule.cost)
        self._plain = rule.key[0] if self.fixed and rule.key in {("ip",), ("global",)} else None
        self._prefix = scoped(namespace, scoped(name, ""))
        self._made: dict[str, Claim] = {}
        self.preflights: NamedRule | None = None
        if shown and rule.methods is None and not rule.messages:
            self.preflights = NamedRule(rule.of_preflights(), preflight_name(name), namespace, shown=False)

    def known(self, request: Request, address: ClientAddress) -> Claim | None:
        """What a client is charged who is remembered, where nothing but his address has to be looked at."""
        if self._plain is None:
            return None
        return self._made.get("ip:" + address.key(request) if self._plain == "ip" else "global")

    def claim(self, request: Request, address: ClientAddress) -> Claim:
        """What the request is charged."""
        rule = self.rule
        identities = identify(rule.key, request, address)
        if self.fixed:
            return self._remembered(identities)
        limits = rule.limits if rule.tiers is None else tier(called(rule.tiers, request), rule)
        cost = called(rule.cost, request) if callable(rule.cost) else rule.cost
        return self._claim(identities, limits, cost)

    async def aclaim(self, request: Request, address: ClientAddress) -> Claim:
        """Do what `claim` does."""
        rule = self.rule
        identities = await aidentify(rule.key, request, address)
        if self.fixed:
            return self._remembered(identities)
        limits = rule.limits if rule.tiers is None else tier(await acalled(rule.tiers, request), rule)
        cost = await acalled(rule.cost, request) if callable(rule.cost) else rule.cost
        return self._claim(identities, limits, cost)

    def _remembered(self, identities: Sequence[str]) -> Claim:
        """The claim of one identity is remembered, unless its text is longer than any that we make."""
        identity = identities[0]
        made = self._made.get(identity) if len(identities) == 1 else None
        if made is None:
            made = self._claim(identities, self.rule.limits, self.rule.cost)
            if len(identities) == 1 and len(identity) <= LONGEST_TEXT:
                if len(self._made) >= REMEMBERED:
                    self._made.clear()
                made = self._made[identity] = made._replace(remembered=True)
        return made

    def _claim(self, identities: Sequence[str], limits: Sequence[Limit], cost: Any) -> Claim:
        if type(cost) is not int:
            raise CostError(
                f"the cost of rule {self.name!r} is {cost!r}, no whole number: return the units that it uses"
            )
        items = item_names(self.label, tuple(limits))
        keys = [self._prefix + shortened(identity) for identity in identities]
        charges = [Charge(key, limit, cost) for key in keys for limit in limits]
        beyond = not 0 <= cost <= min([limit.most for limit in limits])
        return Claim(self, charges, items * len(identities), beyond, len(identities) > 1)


def preflight_name(name: str) -> str:
    """What the counter of a rule's preflights is called."""
    return f"{name}-preflight"


@lru_cache(maxsize=1024)
def item_names(name: str, limits: Sequence[Limit]) -> list[str]:
    """What each limit of a rule is called in responses: several limits are told apart by their span."""
    if len(limits) == 1 or not name:
        return [name] * len(limits)
    names: list[str] = []
    for limit in limits:
        span = (
            limit.per
            if isinstance(limit, FixedWindow)
            else spell(limit.window if isinstance(limit, SlidingWindow) else limit.longest)
        )
        label = f"{name}-{span.replace(' ', '-')}"
        names.append(label if label not in names else f"{label}-{len(names) + 1}")
    return names


def named_rules(rules: Sequence[Rule], namespace: str) -> list[NamedRule]:
    """Rules with their names; two rules of one name would share counters and headers."""
    named: list[NamedRule] = []
    taken: set[str] = set()
    for number, rule in enumerate(rules, start=1):
        if not isinstance(rule, Rule):
            raise OptionError(f'{rule!r} is no Rule: write for example Rule("100/minute", key="ip")')
        name = rule.name or f"rule-{number}"
        names = {name, preflight_name(name)}
        if names & taken:
            raise OptionError(
                f"two rules are named {min(names & taken)!r} (a rule's preflights are counted as NAME-preflight): they "
                "would share their counters. Give each a name of its own"
            )
        taken |= names
        named.append(NamedRule(rule, name, namespace))
    return named
