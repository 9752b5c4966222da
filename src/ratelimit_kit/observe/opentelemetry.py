"""Decisions and events as OpenTelemetry metrics; give the observer to a Policy or a Limiter.

It needs only the API package: without an SDK nothing is recorded and nothing fails. Attributes are names
from the configuration: never a key, an address or a path. The names follow ASP.NET Core's rate-limiting
metrics, the only convention there is.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from ratelimit_kit.core.events import Decided, Event
from ratelimit_kit.errors import DependencyError
from ratelimit_kit.observe.labels import Names

try:
    from opentelemetry.metrics import MeterProvider, get_meter
except ImportError as error:
    raise DependencyError.missing("OpenTelemetryObserver", "the opentelemetry-api package", "opentelemetry") from error


class OpenTelemetryObserver:
    """Counts decisions and events with a meter of `provider` (default: the global one, even if it is set later)."""

    def __init__(self, provider: MeterProvider | None = None) -> None:
        meter = get_meter("ratelimit_kit", version("ratelimit-kit"), provider)
        self._requests = meter.create_counter("ratelimit_kit.requests", "{request}", "Decisions, by rule and result.")
        self._events = meter.create_counter("ratelimit_kit.events", "{event}", "What an operator should know.")
        self._duration = meter.create_histogram("ratelimit_kit.store.duration", "s", "Time that the store took.")
        self._policy, self._rule, self._store, self._event = Names(), Names(), Names(), Names()

    def on_event(self, event: Event) -> None:
        """Count the event by its name, and by its error's code if it has one."""
        attributes: dict[str, Any] = {"ratelimit_kit.event": self._event(event.name)}
        if "error" in event.facts:
            attributes["error.type"] = event.facts["error"]
        self._events.add(1, attributes)

    def on_decision(self, decided: Decided) -> None:
        """Count the decision; record the store's time if it was called."""
        self._requests.add(
            1,
            {
                "ratelimit_kit.policy": self._policy(decided.policy),
                "ratelimit_kit.rule": self._rule(decided.rule),
                "ratelimit_kit.result": decided.outcome,
                "ratelimit_kit.degraded": decided.degraded,
                "ratelimit_kit.cached": decided.cached,
                "ratelimit_kit.near_limit": decided.near,
            },
        )
        if decided.seconds is not None and not decided.degraded and not decided.cached:
            self._duration.record(decided.seconds, {"ratelimit_kit.store": self._store(decided.store)})
