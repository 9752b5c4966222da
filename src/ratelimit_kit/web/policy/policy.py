"""The Policy: rules on one store, checked once per request, and the result for the integrations."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ratelimit_kit.core.validation import known_options, options_of
from ratelimit_kit.environment import STORE, variable
from ratelimit_kit.errors import ConfigurationError, OptionError, StartupRefused, StartupWarning
from ratelimit_kit.guard.process_guard import OnUnsafe
from ratelimit_kit.guarded_store import GuardedStore
from ratelimit_kit.observe import Observer
from ratelimit_kit.outage import OnOutage
from ratelimit_kit.stores import Store
from ratelimit_kit.web.http.messages import Request
from ratelimit_kit.web.policy import startup
from ratelimit_kit.web.policy.config import read_config, read_file
from ratelimit_kit.web.policy.reload import PolicyFile, RulesInForce, signature
from ratelimit_kit.web.policy.ruleset import Mode, RuleSet
from ratelimit_kit.web.response.denial import Respond
from ratelimit_kit.web.response.health import Health
from ratelimit_kit.web.response.result import CheckResult
from ratelimit_kit.web.rules.charges import BoundRule
from ratelimit_kit.web.rules.rule import Exempt, Rule, check_name


class Policy:
    """Rules for a whole application, on one store.

    Args:
        rules: every rule that matches a request must admit it; all are decided at once.
        store: a store or its URL (default: memory); RATELIMIT_KIT_STORE overrides a URL. A store that cannot count is
            refused at start.
        trusted_proxies: networks of proxies whose client addresses are trusted, "unix" for a UNIX socket; or the
            number of proxies that every request passes.
        client_header: where they write it: "x-forwarded-for", "forwarded", or the field of an edge that
            writes one address, such as "cf-connecting-ip".
        ipv6_prefix: the bits that distinguish IPv6 clients.
        headers: the family of response fields: "draft11", "draft6", "x-ratelimit" or "none".
        expose_headers: let scripts of other origins read those fields (CORS).
        exempt: paths that no rule of the policy limits, such as "/healthz", spelt as they are written; or a callable of
            the request, which frees decorated pages too.
        mode: "enforce", "shadow" (count and report, but refuse nobody) or "off"; RATELIMIT_KIT_MODE overrides it.
        denial: a callable of the Denial that returns the body of a refusal: text, bytes, a mapping for JSON,
            a Reply, or None for the usual one.
        cost_status: the status for a request that costs more than a limit ever admits: 429 (without Retry-After) or 413.
        on_outage: when the store fails: "allow" (and log it), "local" (each process applies its
            share of the limits), "deny" (503) or "raise".
        start_without_store: start even if the store does not reply.
        workers: the number of worker processes, if the server does not show it.
        allow_per_process: accept that each process counts separately, and each client gets its quota from each.
        on_unsafe: what a process does when it finds a sibling while it serves from a per-process store:
            "shutdown", "deny" (both respond with 503) or "warn".
        deny_cache: repeat a denial of a shared store from memory until its wait is over, for at most ten seconds.
        name: the namespace of this policy's keys in the store.
        observer: receives events, and decisions if it wants them; a list for several.
    """

    @known_options
    def __init__(
        self,
        *rules: Rule,
        store: str | Store | None = None,
        trusted_proxies: Iterable[str] | int = (),
        client_header: str = "x-forwarded-for",
        ipv6_prefix: int = 64,
        headers: str = "draft11",
        expose_headers: bool = True,
        exempt: Exempt = (),
        mode: Mode = "enforce",
        denial: Respond | None = None,
        cost_status: int = 429,
        on_outage: OnOutage = "allow",
        start_without_store: bool = False,
        workers: int | None = None,
        allow_per_process: bool = False,
        on_unsafe: OnUnsafe = "shutdown",
        deny_cache: bool = True,
        name: str = "web",
        observer: Observer | Sequence[Observer] | None = None,
    ) -> None:
        self.name = check_name(name)
        self._store = GuardedStore(
            (variable(STORE) or store) if store is None or isinstance(store, str) else store,
            observer,
            workers=workers,
            allow_per_process=allow_per_process,
            on_unsafe=on_unsafe,
            deny_cache=deny_cache,
            serves=True,
        )
        ruleset = RuleSet(
            rules,
            self._store,
            self.name,
            trusted_proxies=trusted_proxies,
            client_header=client_header,
            ipv6_prefix=ipv6_prefix,
            headers=headers,
            expose_headers=expose_headers,
            exempt=exempt,
            mode=mode,
            denial=denial,
            cost_status=cost_status,
            on_outage=on_outage,
        )
        self._rules = RulesInForce(ruleset)
        self._start_without_store = start_without_store

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Policy:
        """A policy from plain data: the options of Policy, and "rules", a list of mappings.

        Each rule's mapping has "limits" (text or a list of texts) and the options of Rule; where a callable
        may stand, "import:package.module:name" names one. An unknown option is an OptionError that names the
        nearest one.
        """
        rules, options = read_config(config, options_of(Policy.__init__))
        return cls(*rules, **options)

    @classmethod
    def from_file(cls, path: str | Path, *, reload: bool = True) -> Policy:
        """A policy from a TOML file of the same schema: options on top, then a `[[rules]]` table for each rule.

        A change of the file is applied while the server runs, as a whole, within about a second; a file that
        cannot be applied is logged (RLK303) and changes nothing. The store and whatever else a server is
        started with need a restart.
        """
        seen = signature(path)
        config = read_file(path)
        policy = cls.from_config(config)
        if reload:
            policy._rules.follow(PolicyFile(path, config, options_of(Policy.__init__), seen))  # noqa: SLF001 - its own class
        return policy

    @property
    def store(self) -> Store:
        """Where this policy counts."""
        return self._store.store

    @property
    def rules(self) -> Sequence[BoundRule]:
        """The rules in force, with their names."""
        return self._rules.now().matching.rules

    @property
    def mode(self) -> Mode:
        """The mode in force: "enforce", "shadow" or "off"."""
        return self._rules.now().mode

    def bind(self, rule: Rule, name: str, label: str | None = None) -> BoundRule:
        """A rule outside of this policy's own, for decorators: it counts on the same store under that name.

        Fields call it by its `label`, where it has one.
        """
        return BoundRule(rule, name, self.name, label=label)

    def address_of(self, request: Request) -> str:
        """The address under which a request's client is counted, as text."""
        return self._rules.now().matching.address.key(request)

    def check_workers(self) -> None:
        """Refuse several workers on a per-process store; asks nothing of the network."""
        self._store.guard.start()

    def start(self, *, messages: bool = False, needs_rules: bool = True, wsgi: bool = False) -> None:
        """Raise StartupRefused when this policy could not be enforced: integrations call it when built.

        `messages` is true of one that limits the messages of WebSockets; `needs_rules` is false of one whose
        decorators bring rules of their own; `wsgi` is true of one that stands on WSGI.
        """
        self.check_workers()
        startup.start(
            self._rules.now(),
            start_without_store=self._start_without_store,
            messages=messages,
            needs_rules=needs_rules,
            wsgi=wsgi,
        )

    async def abegin(self) -> StartupRefused | None:
        """The refusal to answer an ASGI server's lifespan with: a sibling serves already, on a per-process store."""
        return await self._store.abegin()

    def findings(self, *, live: bool) -> Iterator[ConfigurationError | StartupWarning]:
        """What would refuse to start, and what is worth a warning; `live` asks the store too."""
        return startup.findings(self._rules.now(), live=live)

    def health(self) -> Health:
        """Whether limits are enforced: the store answers, and no sibling counts for itself."""
        rules = self._rules.now()
        return Health.of(self._store, self._store.measure(), rules.on_outage, rules.mode)

    async def ahealth(self) -> Health:
        """Do what `health` does."""
        rules = self._rules.now()
        return Health.of(self._store, await self._store.ameasure(), rules.on_outage, rules.mode)

    def check(
        self, request: Request, rules: Sequence[BoundRule] | None = None, beside: Sequence[Rule] = ()
    ) -> CheckResult:
        """Decide a request under every rule that matches it, in one step.

        Decorators bring rules of their own, and `beside` them the others of the same page.
        """
        return self._rules.now().check(request, rules, beside)

    async def acheck(
        self, request: Request, rules: Sequence[BoundRule] | None = None, beside: Sequence[Rule] = ()
    ) -> CheckResult:
        """Do what `check` does."""
        return await self._rules.now().acheck(request, rules, beside)

    @property
    def message_rules(self) -> Sequence[BoundRule]:
        """The rules in force that count the messages of a WebSocket."""
        return self._rules.now().matching.messages


def started(policy: object, *, messages: bool = False, needs_rules: bool = True, wsgi: bool = False) -> Policy:
    """The policy, started; integrations call this, so anything else raises OptionError."""
    if not isinstance(policy, Policy):
        raise OptionError(
            f'policy must be a Policy, got {policy!r}. For example: Policy(Rule("100/minute"), store="redis://...")'
        )
    policy.start(messages=messages, needs_rules=needs_rules, wsgi=wsgi)
    return policy
