"""What an outage means to an operator: the outcome under each rule in force, for logs, health reports and `doctor`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from ratelimit_kit.outage.policy import Meanwhile


@dataclass(frozen=True, slots=True)
class Outcomes:
    """What happens in an outage: by `default`, and under each of the `rules` that may refuse, by name.

    `everywhere` are the rules that apply to every request. `enforced` is false if there are rules and none may refuse,
    `alive` true for a store that answers, but refuses calls: then nothing is admitted without a count.
    """

    default: Meanwhile
    rules: Mapping[str, Meanwhile] = field(default_factory=dict)
    everywhere: frozenset[str] = frozenset()
    enforced: bool = True
    alive: bool = False

    def while_alive(self) -> Outcomes:
        """The same for a store that answers, but refuses calls."""
        return replace(self, alive=True)

    @property
    def admits(self) -> bool:
        """Whether any requests are served meanwhile."""
        if not self.enforced:
            return True
        served = {name: self._serves(one) for name, one in self.rules.items()}
        if not served:
            return self._serves(self.default)
        return any(served.values()) and all(served[name] for name in self.everywhere)

    def groups(self) -> dict[Meanwhile, list[str]]:
        """The names of the rules by outcome; without rules, only the default."""
        found: dict[Meanwhile, list[str]] = {}
        for name, one in self.rules.items():
            found.setdefault(one, []).append(name)
        return found or {self.default: []}

    def __str__(self) -> str:
        if not self.enforced:
            return "no rule is enforced, so requests are admitted"
        groups = self.groups()
        if len(groups) == 1:
            (one,) = groups
            return f"by on_outage={one.on_outage!r} {self._said(one)}"
        others = [f"other rules: {self._said(self.default)}"] if groups.pop(self.default, None) else []
        return "; ".join([f"{', '.join(names)}: {self._said(one)}" for one, names in groups.items()] + others)

    def _serves(self, one: Meanwhile) -> bool:
        return one.is_local if self.alive else one.admits

    def _said(self, one: Meanwhile) -> str:
        if self.alive and one.on_outage == "allow":
            return "requests are refused, because the store answers"
        return str(one)
