"""What a request is charged: rules bound to names in a policy, their charges, and the names of those in fields."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import accumulate
from typing import Any, NamedTuple

from ratelimit_kit.core.durations import spell
from ratelimit_kit.core.fixed_window import FixedWindow
from ratelimit_kit.core.limit import Limit
from ratelimit_kit.core.sliding_window import SlidingWindow
from ratelimit_kit.errors import CostError, OptionError
from ratelimit_kit.outage import Meanwhile, strictest
from ratelimit_kit.stores import Charge
from ratelimit_kit.stores.keys import MAX_TEXT_LENGTH, scoped, shortened
from ratelimit_kit.web.callables import acalled, called
from ratelimit_kit.web.http.messages import Request
from ratelimit_kit.web.identity.address import ClientAddress
from ratelimit_kit.web.identity.keys import aidentify, identify
from ratelimit_kit.web.rules.rule import Rule, check_name, tier

MAX_KNOWN = 4096
"""Maximum number of clients with cached charges, per rule and per policy; after that, the cache starts empty again."""


class RuleCharges(NamedTuple):
    """What a request is charged under one rule; `items` are the names of the charges in responses, "" for hidden ones.

    `impossible` is true if a limit can never admit the cost, `repeated` if several identities are charged, and `kept`
    if the rule caches the charges for the client's next request.
    """

    rule: BoundRule
    charges: Sequence[Charge]
    items: Sequence[str]
    impossible: bool = False
    repeated: bool = False
    kept: bool = False

    def less(self, paid: Mapping[tuple[str, str], Mapping[str, float]]) -> RuleCharges | None:
        """What is left to charge after the costs in `paid`, by counter and limit; None if nothing is.

        Where another number has paid for a counter, this one counts in a counter of its own: both hold.
        """
        left = []
        for charge, item in zip(self.charges, self.items, strict=True):
            by_limit = paid.get(charge.counter, {})
            already = by_limit.get(charge.limit.id, 0)
            if not already and any(by_limit.values()):
                left.append((charge._replace(limit=charge.limit.counted_in(charge.limit.id)), item))
            elif not already:
                left.append((charge, item))
            elif already < charge.cost:
                left.append((charge._replace(cost=charge.cost - int(already)), item))
        if not left:
            return None
        return self._replace(charges=[charge for charge, _ in left], items=[item for _, item in left])


class RequestCharges:
    """What a request is charged under several rules, in one step.

    `names` are the names of the charges in responses; `plain` is true if each is shown as it is; `counted` are the
    charges that some responses refund, with the index of the first, and `provisional` the indexes of all of those;
    `impossible` are those that can never be admitted; `own_outages` is true if a rule has an `on_outage` or `fallback`;
    `place` tells where the charges count.
    """

    __slots__ = (
        "by_rule",
        "charges",
        "counted",
        "impossible",
        "names",
        "own_outages",
        "place",
        "plain",
        "provisional",
        "shadow",
    )

    def __init__(self, by_rule: Sequence[RuleCharges], place: Any = None) -> None:
        self.by_rule = by_rule
        self.place = place
        self.charges: tuple[Charge, ...] = tuple([charge for one in by_rule for charge in one.charges])
        self.names = [name for one in by_rule for name in one.items]
        self.plain = all(one.rule.shown and not one.repeated for one in by_rule)
        self.impossible = [one for one in by_rule if one.impossible]
        self.shadow = any(one.rule.rule.shadow for one in by_rule)
        rules = [one.rule.rule for one in by_rule]
        self.own_outages = any(rule.on_outage is not None or rule.fallback is not None for rule in rules)
        places = accumulate([len(one.charges) for one in by_rule], initial=0)
        self.counted = [
            (counts, one, first)
            for one, first in zip(by_rule, places, strict=False)
            if (counts := one.rule.rule.counts) is not None
        ]
        self.provisional = frozenset(
            index for _, one, first in self.counted for index in range(first, first + len(one.charges))
        )

    def meanwhile(self, default: Meanwhile) -> Meanwhile:
        """What happens to all of the charges in an outage: the strictest of what the rules make of their policy's."""
        if not self.own_outages:
            return default
        return strictest(
            [
                (default.changed_by(one.rule.rule.on_outage, one.rule.rule.fallback), len(one.charges))
                for one in self.by_rule
            ]
        )

    def without(self, already_charged: Sequence[RequestCharges]) -> RequestCharges:
        """What is left after what another integration or a decorator has already charged in the same place.

        A charge that a response may still refund counts as paid only for a rule that refunds on the same terms, and one of
        local counters only for a rule that they may decide.
        """
        earlier = []
        for made in already_charged:
            local = type(made.place) is LocalPlace
            if (made.place.beside if local else made.place) == self.place:
                earlier += [(local, other, charge) for other in made.by_rule for charge in other.charges]
        new: list[RuleCharges] = []
        for one in self.by_rule:
            rule = one.rule.rule
            paid: dict[tuple[str, str], Counter[str]] = {}
            for local, other, charge in earlier:
                if local and rule.on_outage in {"deny", "raise"}:
                    continue
                if other.rule.rule.counts is None or other.rule.rule.counts == rule.counts:
                    paid.setdefault(charge.counter, Counter())[charge.limit.id] += charge.cost
            left = one.less(paid)
            if left is not None:
                new.append(left)
        return RequestCharges(new, self.place)

    def split(self) -> tuple[RequestCharges, RequestCharges]:
        """The charges of enforced rules, and those of shadow rules."""
        if not self.shadow:
            return self, NOTHING
        enforced = [one for one in self.by_rule if not one.rule.rule.shadow]
        shadow = [one for one in self.by_rule if one.rule.rule.shadow]
        return RequestCharges(enforced, self.place), RequestCharges(shadow, self.place)

    def possible(self) -> RequestCharges:
        """The charges that their limits can admit."""
        if not self.impossible:
            return self
        return RequestCharges([one for one in self.by_rule if not one.impossible], self.place)

    def names_head(self) -> bool:
        """Whether one of the rules names the method HEAD."""
        return any(one.rule.rule.names_head for one in self.by_rule)


NOTHING = RequestCharges([])


class LocalPlace(NamedTuple):
    """The local counters of a process, which count beside a place that is away."""

    beside: object


class BoundRule:
    """A rule with its name in the namespace of a policy; `label` is its name in fields, if that is different.

    If the limits and the cost of the rule are fixed, a client's charges are created once and cached for a while.
    `shown` is false for a rule that does not appear in fields.
    """

    __slots__ = (
        "_known",
        "_plain",
        "_prefix",
        "by_index",
        "fixed",
        "label",
        "name",
        "preflights",
        "rule",
        "shown",
    )

    def __init__(self, rule: Rule, name: str, namespace: str, *, label: str | None = None, shown: bool = True) -> None:
        self.rule = rule
        self.by_index = rule.by_index
        self.name = name
        self.label = check_name(name if label is None else label) if shown else ""
        self.shown = shown
        self.fixed = rule.tiers is None and not callable(rule.cost)
        self._plain = rule.key[0] if self.fixed and rule.key in {("ip",), ("global",)} else None
        self._prefix = scoped(namespace, scoped(name, ""))
        self._known: dict[str, RuleCharges] = {}
        self.preflights: BoundRule | None = None
        if shown and rule.methods is None and not rule.messages:
            self.preflights = BoundRule(rule.of_preflights(), preflight_name(name), namespace, shown=False)

    def known(self, request: Request, address: ClientAddress) -> RuleCharges | None:
        """The cached charges of a client, if the rule depends on nothing but its address; else None."""
        if self._plain is None:
            return None
        return self._known.get("ip:" + address.key(request) if self._plain == "ip" else "global")

    def charges(self, request: Request, address: ClientAddress) -> RuleCharges:
        """What the request is charged."""
        rule = self.rule
        identities = identify(rule.key, request, address)
        if self.fixed:
            return self._of_client(identities)
        limits = rule.limits if rule.tiers is None else tier(called(rule.tiers, request), rule)
        cost = called(rule.cost, request) if callable(rule.cost) else rule.cost
        return self._make(identities, limits, cost)

    async def acharges(self, request: Request, address: ClientAddress) -> RuleCharges:
        """Do what `charges` does."""
        rule = self.rule
        identities = await aidentify(rule.key, request, address)
        if self.fixed:
            return self._of_client(identities)
        limits = rule.limits if rule.tiers is None else tier(await acalled(rule.tiers, request), rule)
        cost = await acalled(rule.cost, request) if callable(rule.cost) else rule.cost
        return self._make(identities, limits, cost)

    def _of_client(self, identities: Sequence[str]) -> RuleCharges:
        """The charges of these identities; those of a single one are cached, unless its text is unusually long."""
        identity = identities[0]
        made = self._known.get(identity) if len(identities) == 1 else None
        if made is None:
            made = self._make(identities, self.rule.limits, self.rule.cost)
            if len(identities) == 1 and len(identity) <= MAX_TEXT_LENGTH:
                if len(self._known) >= MAX_KNOWN:
                    self._known.clear()
                made = self._known[identity] = made._replace(kept=True)
        return made

    def _make(self, identities: Sequence[str], limits: Sequence[Limit], cost: Any) -> RuleCharges:
        if type(cost) is not int:
            raise CostError(
                f"the cost of rule {self.name!r} must be a whole number, got {cost!r}: return the units that it uses"
            )
        items = item_names(self.label, tuple(limits))
        keys = [self._prefix + shortened(identity) for identity in identities]
        charges = [Charge(key, limit, cost) for key in keys for limit in limits]
        impossible = not 0 <= cost <= min([limit.max_cost for limit in limits if limit.limit], default=max(cost, 0))
        return RuleCharges(self, charges, items * len(identities), impossible, len(identities) > 1)


def preflight_name(name: str) -> str:
    """The name of the counter for a rule's preflights."""
    return f"{name}-preflight"


@lru_cache(maxsize=1024)
def item_names(name: str, limits: Sequence[Limit]) -> list[str]:
    """The name of each limit of a rule in responses; several limits are distinguished by their time span."""
    if len(limits) == 1 or not name:
        return [name] * len(limits)
    names: list[str] = []
    for limit in limits:
        span = (
            limit.per
            if isinstance(limit, FixedWindow)
            else spell(limit.window if isinstance(limit, SlidingWindow) else limit.max_lifetime)
        )
        label = f"{name}-{span.replace(' ', '-')}"
        names.append(label if label not in names else f"{label}-{len(names) + 1}")
    return names


def bind_rules(rules: Sequence[Rule], namespace: str) -> list[BoundRule]:
    """Bind rules to their names; OptionError for two rules with one name, which would share counters and fields."""
    bound: list[BoundRule] = []
    taken: set[str] = set()
    for number, rule in enumerate(rules, start=1):
        if not isinstance(rule, Rule):
            raise OptionError(f'a rule must be a Rule, got {rule!r}. For example: Rule("100/minute", key="ip")')
        name = rule.name or f"rule-{number}"
        names = {name, preflight_name(name)}
        if names & taken:
            raise OptionError(
                f"two rules are named {min(names & taken)!r} (a rule's preflights are counted as NAME-preflight): they "
                "would share their counters. Give each a name of its own"
            )
        taken |= names
        bound.append(BoundRule(rule, name, namespace))
    return bound
