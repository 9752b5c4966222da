"""Decisions and events as Prometheus metrics; give the observer to a Policy or a Limiter.

Labels are names from the configuration: never a key, an address or a path. There are only counters and a
histogram, no gauges, so that the multiprocess mode (PROMETHEUS_MULTIPROC_DIR) adds up workers
without further setup. docs/how-to/monitoring.md has matching alerts.
"""

from __future__ import annotations

import weakref
from typing import Final

from ratelimit_kit.core.events import Decided, Event
from ratelimit_kit.errors import DependencyError
from ratelimit_kit.observe.labels import EVENTS, Names

try:
    from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram
except ImportError as error:
    raise DependencyError.missing("PrometheusObserver", "the prometheus-client package", "prometheus") from error

BUCKETS: Final = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)
"""Seconds: a nearby store replies within a millisecond, and 0.25 is the default deadline."""


class _Metrics:
    """The metrics of one registry, where each name may be registered only once."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"ratelimit_kit_{name}", text, labels, registry=registry)

        rule = ("policy", "rule")
        self.requests = counter("requests", "Decisions, by rule and outcome.", *rule, "outcome")
        self.degraded = counter("degraded", "Decisions that an outage policy made without the store.", *rule, "outcome")
        self.near = counter("near_limit", "Decisions that left less than a tenth of the quota.", *rule)
        self.cached = counter("denial_cache_hits", "Denials from the denial cache, without asking the store.", *rule)
        self.events = counter("events", "What happened that an operator should know.", "event")
        for name in EVENTS:
            self.events.labels(name)
        self.store = Histogram(
            "ratelimit_kit_store_operation_duration_seconds",
            "Time that the store took for a decision.",
            ("store", "operation"),
            registry=registry,
            buckets=BUCKETS,
        )


_of_registry: weakref.WeakKeyDictionary[CollectorRegistry, _Metrics] = weakref.WeakKeyDictionary()


class PrometheusObserver:
    """Counts decisions and events in `registry` (default: the client library's own)."""

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        if registry not in _of_registry:
            _of_registry[registry] = _Metrics(registry)
        self._metrics = _of_registry[registry]
        self._policy, self._rule, self._store, self._event = Names(), Names(), Names(), Names()

    def on_event(self, event: Event) -> None:
        """Count the event by its name."""
        self._metrics.events.labels(self._event(event.name)).inc()

    def on_decision(self, decided: Decided) -> None:
        """Count the decision; record the store's time if it was called."""
        metrics = self._metrics
        rule = self._policy(decided.policy), self._rule(decided.rule)
        metrics.requests.labels(*rule, decided.outcome).inc()
        if decided.near:
            metrics.near.labels(*rule).inc()
        if decided.degraded:
            metrics.degraded.labels(*rule, decided.outcome).inc()
        elif decided.cached:
            metrics.cached.labels(*rule).inc()
        elif decided.seconds is not None:
            metrics.store.labels(self._store(decided.store), "decide").observe(decided.seconds)
