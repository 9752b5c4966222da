"""Rules by method and path, so that a request is tested only against those that may match it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ratelimit_kit.web.http.messages import Request
from ratelimit_kit.web.rules.charges import BoundRule
from ratelimit_kit.web.rules.rule import Rule


class RuleIndex:
    """The rules of a policy, compiled once.

    A candidate matches by path and method, unless it has regular expressions or the method is HEAD; its other
    conditions are left to the rule itself.
    """

    __slots__ = ("_by_method", "_other_methods")

    def __init__(self, rules: Sequence[BoundRule]) -> None:
        named = {method for bound in rules for method in bound.rule.methods or ()}
        if "GET" in named:
            named.add("HEAD")
        self._by_method = {
            method: _PathIndex([bound for bound in rules if _takes(bound.rule, method)]) for method in named
        }
        self._other_methods = _PathIndex([bound for bound in rules if bound.rule.methods is None])

    def candidates(self, request: Request) -> Sequence[BoundRule]:
        """The rules that may match, in the order of the policy."""
        index = self._by_method.get(request.method, self._other_methods)
        return index.find(request.spellings) if index.has_paths else index.anywhere


class _PathIndex:
    """Rules by exact path and by prefix; `anywhere` are those that may match any path."""

    __slots__ = ("_depth", "_exact", "_places", "_prefixes", "anywhere", "has_paths")

    def __init__(self, rules: Sequence[BoundRule]) -> None:
        self._places = {id(bound): place for place, bound in enumerate(rules)}
        self._exact: dict[str, list[BoundRule]] = {}
        self._prefixes: dict[str, list[BoundRule]] = {}
        self.anywhere: list[BoundRule] = []
        for bound in rules:
            paths = bound.rule.paths
            if paths is None or paths.expressions:
                self.anywhere.append(bound)
                continue
            for path in paths.exact:
                self._exact.setdefault(path, []).append(bound)
            for prefix in paths.prefixes:
                self._prefixes.setdefault(prefix, []).append(bound)
        self._depth = range(max((prefix.count("/") for prefix in self._prefixes), default=0))
        self.has_paths = bool(self._exact or self._prefixes)

    def find(self, spellings: Iterable[str]) -> Sequence[BoundRule]:
        """The rules that may match a path with these spellings."""
        found: list[list[BoundRule]] = []
        for path in spellings:
            if (rules := self._exact.get(path)) is not None:
                found.append(rules)
            slash = -1
            for _ in self._depth:
                slash = path.find("/", slash + 1)
                if slash < 0:
                    break
                if (rules := self._prefixes.get(path[: slash + 1])) is not None:
                    found.append(rules)
        if not found:
            return self.anywhere
        if self.anywhere:
            found.append(self.anywhere)
        if len(found) == 1:
            return found[0]
        different = {id(bound): bound for rules in found for bound in rules}
        return sorted(different.values(), key=lambda bound: self._places[id(bound)])


def _takes(rule: Rule, method: str) -> bool:
    """Whether a rule may limit a method; rules for GET also limit HEAD, which the same view handles."""
    return rule.methods is None or method in rule.methods or (method == "HEAD" and "GET" in rule.methods)
