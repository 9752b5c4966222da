"""Whether limits are enforced here, as `application/health+json` (draft-inadarei-api-health-check-06).

`pass` and `warn` have status 200, `fail` has 503. An outage during which requests are served, by the `on_outage` of the
rules in force ("local", "local-share" or "allow"), is a warning: taking every instance out of service would turn a fault
of the limiter into a full outage. Anyone may read the report, so it contains no addresses or secrets; those are in the log.

This is a readiness probe. LIVE is a liveness probe, which must not depend on the store: a process that fails it is
restarted, and no restart brings a store back.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from ratelimit_kit.errors import StoreContendedError, StoreError, StoreUnavailableError
from ratelimit_kit.guarded_store import GuardedStore
from ratelimit_kit.outage import Outcomes

MEDIA_TYPE = "application/health+json"

Status = Literal["pass", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Health:
    """The result of `Policy.health()`: a status, and the checks behind it."""

    status: Status
    checks: dict[str, Any]

    @classmethod
    def of(cls, store: GuardedStore, measured: float | StoreError, outcomes: Outcomes, mode: str = "enforce") -> Health:
        """The health of a store and its guard; `measured` is the store's response time in seconds, or its failure."""
        checks = {
            "store:responseTime": _store(store, measured, outcomes),
            "degraded": _degraded(store, outcomes),
            "mode": _mode(mode),
            "workers": _workers(store),
        }
        statuses = {check["status"] for check in checks.values()}
        worst: Status = "fail" if "fail" in statuses else "warn" if "warn" in statuses else "pass"
        return cls(worst, {name: [check] for name, check in checks.items()})

    @property
    def http_status(self) -> int:
        """200, or 503 when limits are not enforced and requests are not served either."""
        return 503 if self.status == "fail" else 200

    def body(self) -> bytes:
        """The JSON document."""
        return json.dumps({"status": self.status, "checks": self.checks}).encode()

    def fields(self) -> list[tuple[str, str]]:
        """The response fields: the media type, and a Cache-Control that keeps the report out of caches."""
        return [("Content-Type", MEDIA_TYPE), ("Cache-Control", "no-store")]


def _store(store: GuardedStore, measured: float | StoreError, outcomes: Outcomes) -> dict[str, Any]:
    check: dict[str, Any] = {
        "componentId": type(store.store).__name__,
        "componentType": "datastore",
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    if not isinstance(measured, StoreError):
        return {**check, "status": "pass", "observedValue": round(measured * 1000, 3), "observedUnit": "ms"}
    if not isinstance(measured, StoreUnavailableError):
        outcomes = outcomes.while_alive()
    output = f"{_failure(measured)} [{measured.rlk}]; {outcomes}"
    return {**check, "status": "warn" if outcomes.admits else "fail", "output": output}


def _failure(error: StoreError) -> str:
    """What a failed store does; the server's own words may contain its address."""
    if isinstance(error, StoreUnavailableError):
        return "the store is not available"
    return f"the store answers, but {'is too busy' if isinstance(error, StoreContendedError) else 'refuses calls'}"


def _degraded(store: GuardedStore, outcomes: Outcomes) -> dict[str, Any]:
    """Whether decisions are made without the store right now, all of them or those that it refuses to make."""
    refusal = store.outages.refusal
    check = {"componentType": "component", "observedValue": store.degraded or refusal is not None}
    if store.degraded or refusal is None:
        return {**check, "status": "warn" if store.degraded else "pass"}
    output = f"{_failure(refusal)} [{refusal.rlk}]; for these, {outcomes.while_alive()}"
    return {**check, "status": "warn", "output": output}


def _workers(store: GuardedStore) -> dict[str, Any]:
    problem = store.guard.problem
    check: dict[str, Any] = {"componentType": "system"}
    if store.local.workers is not None:
        check["observedValue"] = store.local.workers
    population = store.local.census.population
    if population is not None and population.processes:
        check |= {"observedValue": population.processes, **population._asdict()}
    counted = population is not None and population.processes
    declared = store.local.declared
    if problem is None and counted and declared is not None and counted > declared:
        return {
            **check,
            "status": "warn",
            "output": f"workers={declared} is declared, and more processes serve [RLK264]",
        }
    if problem is None:
        return {**check, "status": "pass"}
    output = f"several processes count separately [{problem.rlk}]; the log has the details"
    return {**check, "status": "fail" if store.guard.closed else "warn", "output": output}


def _mode(mode: str) -> dict[str, Any]:
    """Whether refusals are switched off, which someone chose and may have forgotten."""
    check = {"componentType": "component", "observedValue": mode}
    if mode == "enforce":
        return {**check, "status": "pass"}
    return {**check, "status": "warn", "output": f"mode={mode!r}: no request is refused"}


LIVE = Health("pass", {})
"""The report of a liveness probe, which may show only that this process responds."""
