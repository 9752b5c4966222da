"""What a request is charged under a rule: the rule's name in a policy, its charges, what they are called in fields."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate
from typing import Any, NamedTuple

from ratelimit_kit.core.durations import spell
from ratelimit_kit.core.limits import FixedWindow, Limit, SlidingWindow
from ratelimit_kit.errors import OptionError
from ratelimit_kit.stores import Charge
from ratelimit_kit.stores.keys import scoped
from ratelimit_kit.web.calls import acalled, called
from ratelimit_kit.web.identity import ClientAddress
from ratelimit_kit.web.keys import aidentify, identify
from ratelimit_kit.web.request import Request
from ratelimit_kit.web.rules import Rule, check_name, tier

REMEMBERED = 4096
"""Clients whose claims are remembered, of a rule and of a policy: a flood of others only costs the making of theirs."""


class Claim(NamedTuple):
    """What a request is charged under one rule; `items` are the names of the charges in responses."""

    rule: NamedRule
    charges: Sequence[Charge]
    items: Sequence[str]


class Claims:
    """What a request is charged under several rules in one step, and what they say together.

    `names` are those of the charges in responses; `counted` are the claims of which some responses give back, with the
    place of their first charge; `outages` is what each rule wants of an outage, empty where all leave it to the policy.
    """

    __slots__ = ("all", "charges", "counted", "names", "outages", "shadow")

    def __init__(self, claims: Sequence[Claim]) -> None:
        self.all = claims
        self.charges: tuple[Charge, ...] = tuple([charge for claim in claims for charge in claim.charges])
        self.names = [name for claim in claims for name in claim.items]
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
        """What the request has not been charged already, by another front door or a decorator."""
        known = {(charge.key, charge.limit.id) for claims in ledger for charge in claims.charges}
        new: list[Claim] = []
        for claim in self.all:
            kept = [
                (charge, item)
                for charge, item in zip(claim.charges, claim.items, strict=True)
                if (charge.key, charge.limit.id) not in known
            ]
            if kept:
                new.append(Claim(claim.rule, [charge for charge, _ in kept], [item for _, item in kept]))
        return Claims(new)

    def parted(self) -> tuple[Claims, Claims]:
        """Those that are enforced, and those that only look."""
        if not self.shadow:
            return self, NOTHING
        enforced = [claim for claim in self.all if not claim.rule.rule.shadow]
        return Claims(enforced), Claims([claim for claim in self.all if claim.rule.rule.shadow])


NOTHING = Claims([])


class NamedRule:
    """A rule with its name in the namespace of a policy.

    What a client is charged under a rule whose limits and cost are fixed is made once and remembered for a while.
    """

    __slots__ = ("_items", "_made", "_plain", "_prefix", "always", "fixed", "name", "rule")

    def __init__(self, rule: Rule, name: str, namespace: str) -> None:
        self.rule = rule
        self.name = check_name(name)
        self.always = rule.always
        self.fixed = rule.tiers is None and not callable(rule.cost)
        self._plain = rule.key[0] if self.fixed and rule.key in {("ip",), ("global",)} else None
        self._prefix = scoped(namespace, scoped(name, ""))
        self._items = item_names(name, rule.limits)
        self._made: dict[str, Claim] = {}

    def known(self, request: Request, address: ClientAddress) -> Claim | None:
        """What a client is charged who is remembered, where nothing but his address has to be looked at."""
        if self._plain is None:
            return None
        return self._made.get("ip:" + address.key(request) if self._plain == "ip" else "global")

    def claim(self, request: Request, address: ClientAddress) -> Claim:
        """What the request is charged."""
        rule = self.rule
        identity = identify(rule.key, request, address)
        if self.fixed:
            return self._made.get(identity) or self._remembered(identity)
        limits = rule.limits if rule.tiers is None else tier(called(rule.tiers, request), rule)
        cost = called(rule.cost, request) if callable(rule.cost) else rule.cost
        return self._claim(identity, limits, cost)

    async def aclaim(self, request: Request, address: ClientAddress) -> Claim:
        """Do what `claim` does."""
        rule = self.rule
        identity = await aidentify(rule.key, request, address)
        if self.fixed:
            return self._made.get(identity) or self._remembered(identity)
        limits = rule.limits if rule.tiers is None else tier(await acalled(rule.tiers, request), rule)
        cost = await acalled(rule.cost, request) if callable(rule.cost) else rule.cost
        return self._claim(identity, limits, cost)

    def _remembered(self, identity: str) -> Claim:
        if len(self._made) >= REMEMBERED:
            self._made.clear()
        claim = self._made[identity] = self._claim(identity, self.rule.limits, self.rule.cost)
        return claim

    def _claim(self, identity: str, limits: Sequence[Limit], cost: Any) -> Claim:
        text = self._prefix + identity
        items = self._items if limits is self.rule.limits else item_names(self.name, tuple(limits))
        return Claim(self, [Charge(text, limit, cost) for limit in limits], items)


@lru_cache(maxsize=1024)
def item_names(name: str, limits: Sequence[Limit]) -> list[str]:
    """What each limit of a rule is called in responses: several limits are told apart by their span."""
    if len(limits) == 1:
        return [name]
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
    for number, rule in enumerate(rules, start=1):
        if not isinstance(rule, Rule):
            raise OptionError(f'{rule!r} is no Rule: write for example Rule("100/minute", key="ip")')
        name = rule.name or f"rule-{number}"
        if any(name == other.name for other in named):
            raise OptionError(
                f"two rules are named {name!r}: they would share their counters. Give each a name of its own"
            )
        named.append(NamedRule(rule, name, namespace))
    return named
