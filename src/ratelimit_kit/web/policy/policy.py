"""The Policy: rules on one store, which decide each request and give the integrations a result."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ratelimit_kit.core.validation import check_switch, known_options, options_of
from ratelimit_kit.environment import STORE, variable
from ratelimit_kit.errors import ConfigurationError, OptionError
from ratelimit_kit.guard.declarations import OnUnsafe, Processes
from ratelimit_kit.guard.platforms import Finding
from ratelimit_kit.guarded_store import GuardedStore
from ratelimit_kit.observe import Observer
from ratelimit_kit.outage import Fallback, OnOutage, Outcomes
from ratelimit_kit.stores import Store
from ratelimit_kit.web.http.messages import Request
from ratelimit_kit.web.policy import startup
from ratelimit_kit.web.policy.config import read_config, read_file
from ratelimit_kit.web.policy.reload import PolicyFile, RulesInForce, signature
from ratelimit_kit.web.policy.ruleset import Mode, RuleSet
from ratelimit_kit.web.response.denial import Respond
from ratelimit_kit.web.response.health import Health
from ratelimit_kit.web.response.responder import Responder
from ratelimit_kit.web.response.result import CheckResult
from ratelimit_kit.web.rules.charges import BoundRule
from ratelimit_kit.web.rules.rule import Exempt, Rule, check_name


class Policy:
    """Rules for a whole application, on one store.

    Args:
        rules: every rule that matches a request must admit it; all are decided in one step.
        store: a store or its URL (default: memory); RATELIMIT_KIT_STORE overrides a URL. A store that cannot count is
            refused at start.
        trusted_proxies: networks of the proxies that are trusted to report the client's address, "unix" for a UNIX
            socket; or the number of proxies that every request passes through.
        client_header: the field in which they report it: "x-forwarded-for", "forwarded", or the field in which an edge
            server writes a single address, such as "cf-connecting-ip".
        ipv6_prefix: the number of leading bits that distinguish IPv6 clients.
        headers: the family of response fields: "draft11", "draft6", "x-ratelimit" or "none".
        expose_headers: let scripts from other origins read those fields (CORS).
        exempt: paths that no rule of the policy limits, such as "/healthz", in exactly this spelling; or a callable of
            the request, which exempts decorated pages too.
        mode: "enforce", "shadow" (count and report, but refuse nobody) or "off"; RATELIMIT_KIT_MODE overrides it.
        denial: a callable that takes the Denial and returns the body of the refusal: text, bytes, a mapping for JSON,
            a Reply, or None for the default body.
        cost_status: the status for a request that costs more than a limit can ever admit: 429 (without Retry-After)
            or 413.
        on_outage: what to do when the store fails: "local" (each process applies the full limits in its own memory),
            "local-share" (its share of them), "deny" (503), "allow" (admit without a count) or "raise".
        fallback: a list of limits that "local" and "local-share" apply instead of each rule's own.
        start_without_store: start even if the store does not reply.
        workers, hosts: the number of worker processes, and of hosts, if the server does not show it.
        allow_per_process: accept that each process counts separately, so that a client gets its quota from each.
        on_unsafe: what a process that serves from a per-process store does when it finds a sibling: "shutdown", "deny"
            (both respond with 503) or "warn".
        deny_cache: repeat a shared store's denial from memory until its wait is over, for at most ten seconds.
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
        on_outage: OnOutage = "local",
        fallback: Fallback | None = None,
        start_without_store: bool = False,
        workers: int | None = None,
        hosts: int | None = None,
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
            Processes(workers, hosts, allow_per_process, on_unsafe),
            deny_cache=deny_cache,
            policy=self.name,
        )
        ruleset = RuleSet(
            rules,
            self._store,
            self.name,
            trusted_proxies=trusted_proxies,
            client_header=client_header,
            ipv6_prefix=ipv6_prefix,
            headers=headers,
            expose_headers=check_switch("expose_headers", expose_headers),
            exempt=exempt,
            mode=mode,
            denial=denial,
            cost_status=cost_status,
            on_outage=on_outage,
            fallback=fallback,
        )
        self._store.check_lifetime()
        self._rules = RulesInForce(ruleset)
        self._start_without_store = check_switch("start_without_store", start_without_store)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Policy:
        """A policy from plain data: the options of Policy, and "rules", a list of mappings.

        Each rule's mapping has "limits" (a text or a list of texts) and the options of Rule; callables are written as
        "import:package.module:name". An unknown option raises OptionError, which suggests the closest one.
        """
        rules, options = read_config(config, options_of(Policy.__init__))
        return cls(*rules, **options)

    @classmethod
    def from_file(cls, path: str | Path, *, reload: bool = True) -> Policy:
        """A policy from a TOML file with the same schema: options at the top, then a `[[rules]]` table for each rule.

        If the file changes while the server runs, it is applied as a whole within about a second; a file that cannot
        be applied is logged (RLK303) and changes nothing. The store and other start-up options need a restart.
        """
        seen, config = signature(path), read_file(path)
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

    @property
    def outcomes(self) -> Outcomes:
        """What happens in an outage, by the policy's `on_outage` and `fallback` and those of the rules in force."""
        return self._rules.outcomes

    def bind(self, rule: Rule, name: str, label: str | None = None) -> BoundRule:
        """Bind a decorator's rule, which is not one of this policy's own: it counts on the same store, under `name`.

        Response fields call it `label`, if one is given.
        """
        self._rules.bind(rule, name)
        return BoundRule(rule, name, self.name, label=label)

    def address_of(self, request: Request) -> str:
        """The address under which a request's client is counted, as text."""
        return self._rules.now().matching.address.key(request)

    def check_workers(self) -> None:
        """Refuse several workers on a per-process store; this needs no network."""
        self._store.guard.start()

    def start(
        self, *, messages: bool = False, needs_rules: bool = True, wsgi: bool = False, asynchronous: bool = False
    ) -> None:
        """Raise StartupRefused if this policy could not be enforced; integrations call this when they are created.

        One may bring rules of its own (`needs_rules=False`), limit WebSocket `messages`, be `wsgi` or `asynchronous`.
        """
        self.check_workers()
        startup.start(
            self._rules.now(),
            start_without_store=self._start_without_store,
            messages=messages,
            needs_rules=needs_rules,
            wsgi=wsgi,
            asynchronous=asynchronous,
        )

    async def abegin(self) -> ConfigurationError | None:
        """The refusal to send to an ASGI server's lifespan: a sibling already serves from a per-process store, say."""
        return await self._store.abegin() or await startup.abegin(self._rules.now(), optional=self._start_without_store)

    def findings(self, *, live: bool, platform: Finding | None = None) -> startup.Findings:
        """The errors that would refuse a start (there: `platform`), and the warnings; `live` queries the store too."""
        return startup.findings(self._rules.now(), live=live, platform=platform)

    def health(self) -> Health:
        """Whether limits are enforced: the store responds, and no sibling process counts separately."""
        rules = self._rules.now()
        return Health.of(self._store, self._store.measure(), self.outcomes, rules.mode)

    async def ahealth(self) -> Health:
        """Do what `health` does."""
        rules = self._rules.now()
        return Health.of(self._store, await self._store.ameasure(), self.outcomes, rules.mode)

    def check(
        self, request: Request, rules: Sequence[BoundRule] | None = None, beside: Sequence[Rule] = ()
    ) -> CheckResult:
        """Decide a request under every rule that matches it, in one step.

        Decorators pass their own `rules`, and as `beside` the other rules on the same page.
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


def started(
    policy: object,
    *,
    messages: bool = False,
    needs_rules: bool = True,
    wsgi: bool = False,
    asynchronous: bool = False,
) -> Policy:
    """Start the policy given to an integration, and return it; OptionError if it is not a Policy."""
    if not isinstance(policy, Policy):
        raise OptionError(
            f'policy must be a Policy, got {policy!r}. For example: Policy(Rule("100/minute"), store="redis://...")'
        )
    policy.start(messages=messages, needs_rules=needs_rules, wsgi=wsgi, asynchronous=asynchronous)
    return policy


async def ended(policy: Policy) -> None:
    """Leave the census, and close the connections of this event loop, at the end of an ASGI server's lifespan."""
    await policy._store.local.census.aleave()  # noqa: SLF001 - its own module
    await policy.store.aclose()


def responder_of(policy: Policy) -> Responder:
    """What writes the refusals of a policy, as by its file's latest version: also for functions with a limit of their own."""
    return policy._rules.now().responder  # noqa: SLF001 - its own module
