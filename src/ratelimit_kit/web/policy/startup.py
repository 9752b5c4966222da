"""The checks before a policy serves: by integrations, by `ratelimit-kit check` and by Django's system checks."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from ratelimit_kit.core.events import Event
from ratelimit_kit.core.sliding_window import SlidingWindow
from ratelimit_kit.environment import STORE
from ratelimit_kit.errors import (
    ConfigurationError,
    LateWorkersError,
    ModeWarning,
    OptionError,
    SplitSlotsWarning,
    StartupRefused,
    StartupWarning,
    StoreError,
    StoreUnreachableError,
)
from ratelimit_kit.guard.abort import refuse, replaces_another
from ratelimit_kit.guard.checks import server_fields as fields
from ratelimit_kit.guard.checks.unreachable_limits import loose_fallback, unreachable
from ratelimit_kit.guard.platforms import Finding
from ratelimit_kit.guard.workers.detection import tested
from ratelimit_kit.guarded_store import GuardedStore
from ratelimit_kit.stores import BaseStore, Charge
from ratelimit_kit.web.policy.ruleset import RuleSet

Findings = Iterator[ConfigurationError | StartupWarning]

_SWITCH = "in the policy, or remove RATELIMIT_KIT_MODE from the environment"

PROBE = SlidingWindow(1, 1)
"""The limit for a trial decision at start: a charge of cost 0 writes nothing, but shows that the store can decide."""

PROBE_KEY = "start-up-"


def start(
    ruleset: RuleSet,
    *,
    start_without_store: bool,
    messages: bool = True,
    needs_rules: bool = True,
    wsgi: bool = False,
    asynchronous: bool = False,
) -> None:
    """Refuse to start on the first error, and log every warning.

    A worker that replaces another starts even without the store: a running server follows `on_outage`, and must not
    stop because a worker was recycled during an outage. In mode "off" the store is not contacted at all, because that
    mode is meant for the day when the store itself is the problem. `messages` is true for an integration that limits
    WebSocket messages, `wsgi` for one on WSGI, where the server may have changed the request's fields, and
    `asynchronous` for one that awaits decisions: then both APIs of the store are tried.
    """
    if ruleset.matching.messages and not messages:
        raise OptionError(
            f"rule {ruleset.matching.messages[0].name!r} counts WebSocket messages, but this integration does not see them: use "
            "ratelimit_kit.asgi.RateLimitMiddleware"
        )
    warning = (
        None if not wsgi or ruleset.matching.address.trusts_nobody else fields.finding(ruleset.matching.address.header)
    )
    if warning is not None:
        _warn(ruleset.store, warning)
    live = ruleset.mode != "off"
    for found in findings(ruleset, live=live, needs_rules=needs_rules, asynchronous=asynchronous):
        if isinstance(found, StartupWarning):
            _warn(ruleset.store, found)
        elif not isinstance(found, StartupRefused):
            raise found
        elif isinstance(found, LateWorkersError):
            continue  # the guard handles it, according to on_unsafe
        elif not isinstance(found, StoreUnreachableError) or not (start_without_store or replaces_another()):
            refuse(found)
        else:
            _start_without(ruleset.store, found)


async def abegin(ruleset: RuleSet, *, optional: bool) -> ConfigurationError | None:
    """The error of a store whose async API may be tried only here, on the server's own event loop; not if it is `optional`."""
    store = ruleset.store.backend
    if store.any_loop or ruleset.mode == "off":
        return None
    try:
        await _aprobe(store, _probes(ruleset))
    except StoreError as error:
        found = _unreachable(error)
        if not (optional or replaces_another()):
            return found
        _start_without(ruleset.store, found)
    return None


def _start_without(store: GuardedStore, found: StoreUnreachableError) -> None:
    """Warn that the server starts without its store; decisions are `degraded` from the first one."""
    error = found.__cause__
    if isinstance(error, StoreError) and store.outages.missing_at_start(error):
        message = f"{_bare(error)}. This process starts all the same: meanwhile, {store.outages.outcomes} [{found.rlk}]"
        store.observer.on_event(Event("startup-warning", message, logging.WARNING, {"warning": found.rlk}))


def _warn(store: GuardedStore, warning: StartupWarning) -> None:
    store.observer.on_event(Event("startup-warning", str(warning), logging.WARNING, {"warning": warning.rlk}))


def findings(
    ruleset: RuleSet,
    *,
    live: bool,
    needs_rules: bool = True,
    asynchronous: bool = False,
    platform: Finding | None = None,
) -> Findings:
    """Every error that would refuse the start, and every warning; `live` queries the store too.

    `asynchronous` is true if the store's async API is needed as well. `platform` stands for the one that this process
    runs on.
    """
    yield from wrong_rules(ruleset, needs_rules=needs_rules)
    if ruleset.mode != "enforce":
        yield ModeWarning(
            f"mode={ruleset.mode!r}: no request is refused. To enforce limits, set mode='enforce' {_SWITCH}"
        )
    for bound in ruleset.matching.rules:
        fallback = ruleset.meanwhile.changed_by(bound.rule.on_outage, bound.rule.fallback).fallback
        yield from loose_fallback(fallback, bound.rule.limits, f"rule {bound.name!r}")
    refusal = ruleset.store.guard.refusal(platform)
    flaw = ruleset.store.backend.flaw
    if refusal is not None:
        yield refusal
    elif flaw is not None:
        yield flaw
    elif platform is not None and (warning := ruleset.store.guard.declared.replicas(platform)) is not None:
        yield warning
    store = ruleset.store.backend
    async_flaw = store.async_flaw if asynchronous else None
    if async_flaw is not None:
        yield async_flaw
    elif live and flaw is None and ruleset.mode != "off":
        yield from _of_the_store(store, _probes(ruleset), asynchronous=asynchronous and store.any_loop)


def wrong_rules(ruleset: RuleSet, *, needs_rules: bool = True) -> Iterator[ConfigurationError]:
    """The errors in the rules themselves."""
    if needs_rules and not ruleset.matching.rules:
        yield OptionError('a policy without rules limits nothing. For example, add Rule("100/minute", key="ip")')
    for bound in ruleset.matching.rules:
        yield from unreachable(bound.rule.limits, f"rule {bound.name!r}")


def _probes(ruleset: RuleSet) -> list[Charge]:
    return [Charge(f"{PROBE_KEY}{bound.name}", PROBE, 0) for bound in ruleset.matching.rules]


async def _aprobe(store: BaseStore, charges: Sequence[Charge]) -> None:
    """Raise the error of an async API that does not work."""
    await store.aping()
    await store.adecide(charges)


def _of_the_store(store: BaseStore, charges: Sequence[Charge], *, asynchronous: bool) -> Findings:
    try:
        store.ping()
        store.decide(charges)
        if asynchronous:
            with ThreadPoolExecutor(1) as another:  # this thread may be running an event loop
                another.submit(asyncio.run, _aprobe(store, charges)).result()
        yield from store.examine()
    except StartupRefused as error:
        yield error
    except StoreError as error:
        yield _unreachable(error)
    else:
        if len(charges) > 1 and store.clustered:
            rules = ", ".join(charge.key.removeprefix(PROBE_KEY) for charge in charges)
            yield SplitSlotsWarning(
                f"{store!r} is a cluster, and a request that matches several of the rules {rules} has counters on "
                "several nodes: they are decided one after the other, with units given back on a denial, not in one step"
            )


_IN_TESTS = f". For tests, set {STORE}=memory:// in the environment before the application is imported"


def _unreachable(error: StoreError) -> StoreUnreachableError:
    found = StoreUnreachableError(
        f"{_bare(error)}. Starting now would leave all limits to on_outage: start the store first, "
        "or accept that with start_without_store=True" + (_IN_TESTS if tested() else "")
    )
    found.__cause__ = error
    return found


def _bare(error: StoreError) -> str:
    """The text of an error without its code."""
    return str(error).rsplit(" [", 1)[0]
