"""The Policy: rules on one store, asked once per request, and the answer for the front doors."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ratelimit_kit.core.decision import Decision
from ratelimit_kit.core.durations import spell
from ratelimit_kit.core.limits import FixedWindow, Limit, SlidingWindow
from ratelimit_kit.core.options import known_options, nearest
from ratelimit_kit.errors import ConfigurationError, OptionError, StartupRefused, StartupWarning
from ratelimit_kit.gate import Gate, OnOutage, outage_policy
from ratelimit_kit.guard.watch import OnUnsafe
from ratelimit_kit.observe import Observer
from ratelimit_kit.stores import Charge, Store
from ratelimit_kit.web import startup
from ratelimit_kit.web.answer import PASS, Answer
from ratelimit_kit.web.headers import FAMILIES, Item, retry_after
from ratelimit_kit.web.health import Health
from ratelimit_kit.web.identity import ClientAddress
from ratelimit_kit.web.keys import aidentify, identify
from ratelimit_kit.web.paths import Pattern, read_paths
from ratelimit_kit.web.problem import body
from ratelimit_kit.web.request import Request
from ratelimit_kit.web.rules import Rule, check_name

_STRICTEST: tuple[OnOutage, ...] = ("raise", "deny", "local", "allow")


class Policy:
    """Rules for a whole application, on one store.

    Args:
        rules: every rule that matches a request must admit it; all are decided at once.
        store: a store or its URL; everything is refused at start that cannot count there.
        trusted_proxies: networks whose X-Forwarded-For is believed, "unix" for a UNIX socket.
        ipv6_prefix: bits by which IPv6 clients are told apart.
        headers: the family of response fields: "draft11", "draft6", "x-ratelimit" or "none".
        exempt: paths that no rule limits, such as ["/healthz"].
        on_outage: when the store fails: "allow" (and say so in the log), "local" (each process keeps to its
            share of the limits), "deny" (503) or "raise".
        start_without_store: start although the store does not answer.
        workers: the number of worker processes, where the server does not show it.
        allow_per_process: accept that each process counts for itself, and each client gets its quota from each.
        on_unsafe: what a process does that finds a sibling while it serves from a per-process store:
            "shutdown", "deny" (both answer 503) or "warn".
        name: the namespace of this policy's keys in the store.
        observer: hears of events; by default they are logged.
    """

    @known_options
    def __init__(
        self,
        *rules: Rule,
        store: str | Store = "memory://",
        trusted_proxies: Iterable[str] = (),
        ipv6_prefix: int = 64,
        headers: str = "draft11",
        exempt: Iterable[Pattern] = (),
        on_outage: OnOutage = "allow",
        start_without_store: bool = False,
        workers: int | None = None,
        allow_per_process: bool = False,
        on_unsafe: OnUnsafe = "shutdown",
        name: str = "web",
        observer: Observer | None = None,
    ) -> None:
        if headers not in FAMILIES:
            raise OptionError(f"headers={headers!r} is no family of fields; {nearest(str(headers), FAMILIES)}")
        self._gate = Gate(
            store, observer, workers=workers, allow_per_process=allow_per_process, on_unsafe=on_unsafe, serves=True
        )
        self._address = ClientAddress(trusted_proxies, ipv6_prefix)
        self._fields = FAMILIES[headers]
        self._exempt = read_paths("exempt", exempt)
        self._on_outage = outage_policy(on_outage)
        self._start_without_store = start_without_store
        self.name = check_name(name)
        self.rules = _named(rules)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Policy:
        """A policy from plain data: the options of Policy, and "rules", a list of mappings.

        Each rule's mapping has "limits" (text or a list of texts) and the options of Rule. An
        unknown option is an OptionError that names the nearest one.
        """
        from ratelimit_kit.web.config import read_policy

        return read_policy(cls, config)

    @classmethod
    def from_file(cls, path: str | Path) -> Policy:
        """A policy from a TOML file of the same schema: options on top, then a `[[rules]]` table for each rule."""
        from ratelimit_kit.web.config import read_file

        return cls.from_config(read_file(path))

    @property
    def store(self) -> Store:
        """Where this policy counts."""
        return self._gate.store

    def only(self, rule: Rule, name: str) -> Policy:
        """The same policy with one rule of that name, for decorators: same store, same options."""
        policy = copy.copy(self)
        policy.rules = [(rule, check_name(name))]
        return policy

    def check_workers(self) -> None:
        """Refuse several workers on a per-process store; asks nothing of the network."""
        self._gate.watch.start()

    def start(self) -> None:
        """Raise StartupRefused when this policy could not be enforced: front doors call it when built."""
        self.check_workers()
        startup.start(self, self._gate, start_without_store=self._start_without_store)

    async def abegin(self) -> StartupRefused | None:
        """The refusal to answer an ASGI server's lifespan with: a sibling serves already, on a per-process store."""
        watch = self._gate.watch
        if watch.alert and not await self._gate.aadmits() and watch.refusal_to_begin is None:
            watch.tell()
        return watch.refusal_to_begin

    def findings(self, *, live: bool) -> Iterator[ConfigurationError | StartupWarning]:
        """What would refuse to start, and what is worth a warning; `live` asks the store too."""
        return startup.findings(self, self._gate, live=live)

    def health(self) -> Health:
        """Whether limits are enforced: the store answers, and no sibling counts for itself."""
        return Health.of(self._gate, self._gate.measure(), self._on_outage)

    async def ahealth(self) -> Health:
        """Do what `health` does."""
        return Health.of(self._gate, await self._gate.ameasure(), self._on_outage)

    def check(self, request: Request) -> Answer:
        """Decide a request under every rule that matches it, in one step."""
        rules = self._matching(request)
        if not rules:
            return PASS
        asked = [(rule, name, identify(rule.key, request, self._address)) for rule, name in rules]
        charges, items = self._charges(asked, request)
        on_outage = self._strictest(rules)
        return self._answer(request, self._gate.decide(charges, on_outage), items, on_outage)

    async def acheck(self, request: Request) -> Answer:
        """Do what `check` does."""
        rules = self._matching(request)
        if not rules:
            return PASS
        asked = [(rule, name, await aidentify(rule.key, request, self._address)) for rule, name in rules]
        charges, items = self._charges(asked, request)
        on_outage = self._strictest(rules)
        return self._answer(request, await self._gate.adecide(charges, on_outage), items, on_outage)

    def _matching(self, request: Request) -> list[tuple[Rule, str]]:
        if self._exempt(request.path) or request.is_preflight():
            return []
        return [(rule, name) for rule, name in self.rules if rule.matches(request)]

    def _charges(self, asked: Sequence[tuple[Rule, str, str]], request: Request) -> tuple[list[Charge], list[str]]:
        charges: list[Charge] = []
        items: list[str] = []
        for rule, name, identity in asked:
            charges += rule.charges(self.name, name, identity, request)
            items += item_names(name, rule.limits)
        return charges, items

    def _strictest(self, rules: Sequence[tuple[Rule, str]]) -> OnOutage:
        return min((rule.on_outage or self._on_outage for rule, _ in rules), key=_STRICTEST.index)

    def _answer(self, request: Request, decision: Decision, names: list[str], on_outage: OnOutage) -> Answer:
        if decision.degraded:
            if decision.allowed:
                return PASS
            if on_outage == "local" and not self._gate.watch.closed:
                return self._denial(request, 429, "Too Many Requests", decision, [])
            return self._denial(request, 503, "Service Unavailable", decision, [])
        items = [Item(name, verdict) for name, verdict in zip(names, decision.verdicts, strict=True)]
        if decision.allowed:
            return Answer(self._fields(items))
        return self._denial(request, 429, "Too Many Requests", decision, items)

    def _denial(self, request: Request, status: int, reason: str, decision: Decision, items: list[Item]) -> Answer:
        names = [item.name for item in items if not item.verdict.allowed]
        wait = decision.retry_after
        data, fields = body(request.headers.get("accept", ""), status=status, names=names, seconds=wait)
        if request.method == "HEAD":
            data = b""
        family = self._fields(items) if items else []
        return Answer([*fields, retry_after(wait), *family], status, reason, data)


def started(policy: object) -> Policy:
    """The policy, started; front doors call this, so that anything else is said to be no policy."""
    if not isinstance(policy, Policy):
        raise OptionError(f'{policy!r} is no policy: write Policy(Rule("100/minute"), store="redis://...")')
    policy.start()
    return policy


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


def _named(rules: Sequence[Rule]) -> list[tuple[Rule, str]]:
    """Rules with their names; two rules of one name would share counters and headers."""
    named: list[tuple[Rule, str]] = []
    for number, rule in enumerate(rules, start=1):
        if not isinstance(rule, Rule):
            raise OptionError(f'{rule!r} is no Rule: write for example Rule("100/minute", key="ip")')
        name = rule.name or f"rule-{number}"
        if any(name == other for _, other in named):
            raise OptionError(
                f"two rules are named {name!r}: they would share their counters. Give each a name of its own"
            )
        named.append((rule, name))
    return named
