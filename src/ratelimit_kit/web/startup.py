"""What is looked at before a policy serves: by front doors, by `ratelimit-kit check` and by Django's checks."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from ratelimit_kit.core.event import Event
from ratelimit_kit.core.limits import SlidingWindow
from ratelimit_kit.errors import (
    ConfigurationError,
    LateWorkersError,
    OptionError,
    SplitSlotsWarning,
    StartupRefused,
    StartupWarning,
    StoreError,
    StoreUnreachableError,
)
from ratelimit_kit.gate import Gate
from ratelimit_kit.guard.reach import unreachable
from ratelimit_kit.guard.refusal import refuse, replaces_another
from ratelimit_kit.stores import Charge, Store

if TYPE_CHECKING:
    from ratelimit_kit.web.policy import Policy

Findings = Iterator[ConfigurationError | StartupWarning]

PROBE = SlidingWindow(1, 1)
"""The limit that a store is asked for at start: a cost of 0 writes nothing, and shows that decisions are possible."""


def start(policy: Policy, gate: Gate, *, start_without_store: bool) -> None:
    """Refuse for the first error, log every warning.

    A worker that replaces another starts even without the store: a server that runs goes by
    `on_outage`, and must not end because a worker was recycled during an outage.
    """
    for found in findings(policy, gate, live=True):
        if isinstance(found, StartupWarning):
            gate.observer.on_event(Event("startup-warning", str(found), logging.WARNING, {"warning": found.rlk}))
        elif not isinstance(found, StartupRefused):
            raise found
        elif isinstance(found, LateWorkersError):
            continue  # the watch goes by on_unsafe
        elif not isinstance(found, StoreUnreachableError) or not (start_without_store or replaces_another()):
            refuse(found)


def findings(policy: Policy, gate: Gate, *, live: bool) -> Findings:
    """Everything that would refuse this policy or is worth a warning; `live` asks the store too."""
    if not policy.rules:
        yield OptionError('a policy without rules limits nothing: add for example Rule("100/minute", key="ip")')
    refusal = gate.watch.refusal()
    if refusal is not None:
        yield refusal
    for rule, name in policy.rules:
        yield from unreachable(rule.limits, f"rule {name!r}")
    if live:
        yield from _of_the_store(gate.store, [name for _, name in policy.rules])


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
