"""What is looked at before a policy serves: by front doors, by `ratelimit-kit check` and by Django's checks."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from ratelimit_kit.core.events import Event
from ratelimit_kit.core.limits import SlidingWindow
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
from ratelimit_kit.guard import server_fields as fields
from ratelimit_kit.guard.abort import refuse, replaces_another
from ratelimit_kit.guard.unreachable_limits import unreachable
from ratelimit_kit.guarded_store import Gate
from ratelimit_kit.stores import Charge, Store

if TYPE_CHECKING:
    from ratelimit_kit.web.policy.ruleset import Plan

Findings = Iterator[ConfigurationError | StartupWarning]

_SWITCH = "in the policy, or take RATELIMIT_KIT_MODE out of the environment"

PROBE = SlidingWindow(1, 1)
"""The limit that a store is asked for at start: a cost of 0 writes nothing, and shows that decisions are possible."""


def start(plan: Plan, gate: Gate, *, start_without_store: bool, needs_rules: bool = True, wsgi: bool = False) -> None:
    """Refuse for the first error, log every warning.

    A worker that replaces another starts even without the store: a server that runs goes by
    `on_outage`, and must not end because a worker was recycled during an outage. In mode "off" the store is not
    asked at all: that switch is for the day on which the store is what fails. `wsgi` is true of a door on WSGI, whose
    servers may have changed the fields of requests.
    """
    warning = None if not wsgi or plan.address.trusts_nobody else fields.finding(plan.address.header)
    if warning is not None:
        _warn(gate, warning)
    for found in findings(plan, gate, live=plan.mode != "off", needs_rules=needs_rules):
        if isinstance(found, StartupWarning):
            _warn(gate, found)
        elif not isinstance(found, StartupRefused):
            raise found
        elif isinstance(found, LateWorkersError):
            continue  # the watch goes by on_unsafe
        elif not isinstance(found, StoreUnreachableError) or not (start_without_store or replaces_another()):
            refuse(found)


def _warn(gate: Gate, warning: StartupWarning) -> None:
    gate.observer.on_event(Event("startup-warning", str(warning), logging.WARNING, {"warning": warning.rlk}))


def findings(plan: Plan, gate: Gate, *, live: bool, needs_rules: bool = True) -> Findings:
    """Everything that would refuse this policy or is worth a warning; `live` asks the store too."""
    yield from of_the_plan(plan, needs_rules=needs_rules)
    if plan.mode != "enforce":
        yield ModeWarning(
            f"mode={plan.mode!r}: no request is refused. For limits that hold, set mode='enforce' {_SWITCH}"
        )
    refusal = gate.watch.refusal()
    flaw: StartupRefused | None = getattr(gate.store, "flaw", None)
    if refusal is not None:
        yield refusal
    elif flaw is not None:
        yield flaw
    if live and flaw is None and plan.mode != "off":
        yield from _of_the_store(gate.store, [named.name for named in plan.named])


def of_the_plan(plan: Plan, *, needs_rules: bool = True) -> Iterator[ConfigurationError]:
    """What is wrong with the rules themselves."""
    if needs_rules and not plan.named:
        yield OptionError('a policy without rules limits nothing: add for example Rule("100/minute", key="ip")')
    for named in plan.named:
        yield from unreachable(named.rule.limits, f"rule {named.name!r}")


def _of_the_store(store: Store, rules: Sequence[str]) -> Findings:
    try:
        store.ping()
        store.decide([Charge(f"start-up-{name}", PROBE, 0) for name in rules])
        examine = getattr(store, "examine", None)
        yield from examine() if examine else ()
    except StartupRefused as error:
        yield error
    except StoreError as error:
        yield StoreUnreachableError(
            f"{str(error).rsplit(' [', 1)[0]}. Starting now would leave every limit to on_outage: start the store first, "
            "or accept that with start_without_store=True"
        )
    else:
        if len(rules) > 1 and getattr(store, "clustered", False):
            yield SplitSlotsWarning(
                f"{store!r} is a cluster, and a request that matches several of the rules {', '.join(rules)} has counters on "
                "several nodes: they are decided one after the other, with units given back on a denial, not in one step"
            )
