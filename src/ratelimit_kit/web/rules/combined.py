"""The charges of several rules as one value, which is kept for the client's next request."""

from __future__ import annotations

from math import inf

from ratelimit_kit.web.rules.charges import MAX_KNOWN, RequestCharges, RuleCharges


class Combined:
    """Combines the charges of several rules, which count in `place`; cached if all of the rules have cached theirs."""

    __slots__ = ("_known", "_place")

    def __init__(self, place: object) -> None:
        self._place = place
        self._known: dict[tuple[int, ...], RequestCharges] = {}

    def __call__(self, by_rule: list[RuleCharges]) -> RequestCharges:
        """The charges of a request as one value, which keeps its parts alive, so that their ids are not reused."""
        ids = tuple([id(one) for one in by_rule])
        together = self._known.get(ids)
        if together is None:
            together = RequestCharges(_different(by_rule), self._place)
            if all(one.kept for one in by_rule):
                if len(self._known) >= MAX_KNOWN:
                    self._known.clear()
                self._known[ids] = together
        return together


def _different(by_rule: list[RuleCharges]) -> list[RuleCharges]:
    """The charges without duplicates: two rules with the same name, as throttles may have, can share a counter."""
    if len({one.rule.name for one in by_rule}) == len(by_rule):
        return by_rule
    seen: dict[tuple[str, str], dict[str, float]] = {}
    different = []
    for one in by_rule:
        left = one.less(seen)
        for charge in one.charges:
            seen.setdefault(charge.counter, {})[charge.limit.id] = inf
        if left is not None:
            different.append(left)
    return different
