"""What the Prometheus and OpenTelemetry observers make of decisions and events."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

import ratelimit_kit
from ratelimit_kit.core.events import Decided, Event
from ratelimit_kit.observe.labels import EVENTS, MAX_LABELS
from ratelimit_kit.observe.opentelemetry import OpenTelemetryObserver
from ratelimit_kit.observe.prometheus import PrometheusObserver

ALLOWED = Decided(
    "web", "site", "allowed", degraded=False, cached=False, near=False, store="RedisStore", seconds=0.0004
)
NEAR = Decided("web", "site", "allowed", degraded=False, cached=False, near=True, store="RedisStore", seconds=0.0004)
CACHED = Decided("web", "login", "denied", degraded=False, cached=True, near=True, store="RedisStore", seconds=0.0)
SHADOW = Decided(
    "web", "new", "shadow-denied", degraded=False, cached=False, near=True, store="RedisStore", seconds=0.002
)
DEGRADED = Decided("web", "site", "allowed", degraded=True, cached=False, near=False, store="RedisStore", seconds=0.25)
OUTAGE = Event("store-outage", "it is away", logging.ERROR, {"error": "RLK301"})

ALL = [ALLOWED, ALLOWED, NEAR, CACHED, SHADOW, DEGRADED]


def scraped(registry: CollectorRegistry) -> dict[tuple[str, tuple[str, ...]], float]:
    families = text_string_to_metric_families(generate_latest(registry).decode())
    return {
        (sample.name.removeprefix("ratelimit_kit_"), tuple(sample.labels.values())): sample.value
        for family in families
        for sample in family.samples
        if not sample.name.endswith(("_created", "_bucket")) and (sample.value or "events" not in sample.name)
    }


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


def test_prometheus_counts_decisions_by_rule_and_outcome(registry: CollectorRegistry) -> None:
    observer = PrometheusObserver(registry)
    for decided in ALL:
        observer.on_decision(decided)
    observer.on_event(OUTAGE)
    found = scraped(registry)
    assert found[("store_operation_duration_seconds_sum", ("decide", "RedisStore"))] == pytest.approx(0.0032)
    del found[("store_operation_duration_seconds_sum", ("decide", "RedisStore"))]
    assert found == {
        ("requests_total", ("allowed", "web", "site")): 4,
        ("requests_total", ("denied", "web", "login")): 1,
        ("requests_total", ("shadow-denied", "web", "new")): 1,
        ("degraded_total", ("allowed", "web", "site")): 1,
        ("near_limit_total", ("web", "site")): 1,
        ("near_limit_total", ("web", "login")): 1,
        ("near_limit_total", ("web", "new")): 1,
        ("denial_cache_hits_total", ("web", "login")): 1,
        ("events_total", ("store-outage",)): 1,
        ("store_operation_duration_seconds_count", ("decide", "RedisStore")): 4,
    }


def test_two_observers_share_the_metrics_of_a_registry(registry: CollectorRegistry) -> None:
    PrometheusObserver(registry).on_decision(ALLOWED)
    PrometheusObserver(registry).on_decision(ALLOWED)
    assert scraped(registry)[("requests_total", ("allowed", "web", "site"))] == 2


def test_labels_stay_few_however_many_names_there_are(registry: CollectorRegistry) -> None:
    observer = PrometheusObserver(registry)
    for number in range(MAX_LABELS + 50):
        observer.on_decision(Decided(f"tenant-{number}", "", "allowed", False, False, False, "MemoryStore", 0.0))
    series = {labels: value for (name, labels), value in scraped(registry).items() if name == "requests_total"}
    assert len(series) == MAX_LABELS + 1
    assert series[("allowed", "other", "")] == 50


def test_every_event_of_the_library_has_a_counter_from_the_start(registry: CollectorRegistry) -> None:
    """An alert on an increase sees only what was there before."""
    package = Path(ratelimit_kit.__file__).parent
    source = "".join(path.read_text() for path in package.rglob("*.py"))
    raised = set(re.findall(r'(?:Event|_tell)\(\s*"([a-z-]+)"', source))
    assert raised <= set(EVENTS)
    PrometheusObserver(registry)
    for name in EVENTS:
        assert registry.get_sample_value("ratelimit_kit_events_total", {"event": name}) == 0


def recorded(reader: InMemoryMetricReader) -> dict[str, list[tuple[dict[str, Any], float]]]:
    data = reader.get_metrics_data()
    return {
        metric.name: [
            (dict(point.attributes), getattr(point, "value", None) or getattr(point, "count", 0))
            for point in metric.data.data_points
        ]
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }


def test_opentelemetry_counts_decisions_by_rule_and_result() -> None:
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])
    observer = OpenTelemetryObserver(provider)
    for decided in ALL:
        observer.on_decision(decided)
    observer.on_event(OUTAGE)
    found = recorded(reader)
    provider.shutdown()
    assert sum(count for _, count in found["ratelimit_kit.requests"]) == len(ALL)
    assert (
        {
            "ratelimit_kit.policy": "web", "ratelimit_kit.rule": "login", "ratelimit_kit.result": "denied",
            "ratelimit_kit.degraded": False, "ratelimit_kit.cached": True, "ratelimit_kit.near_limit": True,
        },
        1,
    ) in found["ratelimit_kit.requests"]  # fmt: skip
    assert found["ratelimit_kit.events"] == [({"ratelimit_kit.event": "store-outage", "error.type": "RLK301"}, 1)]
    assert found["ratelimit_kit.store.duration"] == [({"ratelimit_kit.store": "RedisStore"}, 4)]


def test_without_an_sdk_nothing_is_recorded_and_nothing_fails() -> None:
    observer = OpenTelemetryObserver()
    observer.on_decision(ALLOWED)
    observer.on_event(OUTAGE)


@pytest.mark.parametrize(
    ("missing", "module", "extra"),
    [
        ("prometheus_client", "ratelimit_kit.observe.prometheus", "prometheus"),
        ("opentelemetry", "ratelimit_kit.observe.opentelemetry", "opentelemetry"),
    ],
)
def test_a_missing_client_library_is_named(missing: str, module: str, extra: str) -> None:
    code = (
        f"import sys; sys.modules[{missing!r}] = None\ntry: import {module}\nexcept ImportError as error: print(error)"
    )
    output = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert f"pip install 'ratelimit-kit[{extra}]' [RLK105]" in output
