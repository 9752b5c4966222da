"""The deployment files: Compose files, run natively, do what they say; rules and dashboard use metrics that exist."""

from __future__ import annotations

import contextlib
import json
import re
import time
import tomllib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from compose_spec.models import ComposeSpecification
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from pydantic import ValidationError

from ratelimit_kit.core.events import Decided
from ratelimit_kit.observe.labels import EVENTS
from ratelimit_kit.observe.prometheus import PrometheusObserver
from tests.processes import EXAMPLES, free_port, need, python_program, request, running

pytestmark = pytest.mark.live

DEPLOY = EXAMPLES / "deploy"
COMPOSE = ["compose.redis.yaml", "compose.memcached.yaml"]
RULES = yaml.safe_load((DEPLOY / "rules.yaml").read_text())["groups"][0]["rules"]
DASHBOARD = json.loads((DEPLOY / "dashboard.json").read_text())


def exposed() -> dict[str, set[str]]:
    """Every sample that the observer exposes, with its labels."""
    registry = CollectorRegistry()
    observer = PrometheusObserver(registry)
    observer.on_decision(Decided("p", "r", "denied", True, False, True, "S", 0.1))
    observer.on_decision(Decided("p", "r", "denied", False, True, True, "S", 0.1))
    observer.on_decision(Decided("p", "r", "allowed", False, False, True, "S", 0.1))
    families = text_string_to_metric_families(generate_latest(registry).decode())
    found: dict[str, set[str]] = {}
    for family in families:
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


RECORDED = {rule["record"]: set() for rule in RULES if "record" in rule}
QUERIES = [
    *[pytest.param(rule["expr"], id=rule.get("alert") or rule["record"]) for rule in RULES],
    *[
        pytest.param(target["expr"], id=f"panel {panel['title']}")
        for panel in DASHBOARD["panels"]
        for target in panel["targets"]
    ],
]


def selectors(query: str) -> list[Any]:
    found: list[Any] = []
    parsed = promql_parser.parse(query.replace("$__rate_interval", "5m"))

    def visit(node: Any) -> bool:
        if isinstance(node, promql_parser.VectorSelector):
            found.append(node)
        return True

    promql_parser.walk(parsed, visit)
    return found


@pytest.mark.parametrize("query", QUERIES)
def test_every_query_is_promql_over_metrics_that_exist(query: str) -> None:
    known = exposed()
    found = selectors(query)
    assert found or query == "vector(0)"
    for selector in found:
        if selector.name in RECORDED:
            continue
        assert selector.name in known, selector.name
        for matcher in selector.matchers.matchers:
            assert matcher.name in known[selector.name]
            if matcher.name == "event":
                assert set(matcher.value.split("|")) <= set(EVENTS)
    for labels in re.findall(r"by \(([^)]*)\)", query):
        used = {label.strip() for label in labels.split(",")}
        assert used <= set().union(*(known[one.name] for one in found if one.name in known))


def test_alerts_say_what_is_wrong_and_how_bad_it_is() -> None:
    alerts = [rule for rule in RULES if "alert" in rule]
    assert len({rule["alert"] for rule in alerts}) == len(alerts)
    for rule in alerts:
        assert rule["labels"]["severity"] in {"critical", "warning", "info"}
        assert rule["annotations"]["summary"]
        assert rule["annotations"]["description"]
        for label in re.findall(r"\$labels\.(\w+)", str(rule["annotations"])):
            assert f"{label}" in rule["expr"] or any(name in rule["expr"] for name in RECORDED)
        assert re.fullmatch(r"\d+[smhd]", rule.get("for", "1m"))


def test_the_guide_explains_every_alert() -> None:
    page = (EXAMPLES.parent / "docs" / "how-to" / "monitoring.md").read_text()
    for rule in RULES:
        if "alert" in rule:
            assert f"`{rule['alert']}`" in page
    for name in exposed():
        if not name.endswith(("_created", "_bucket", "_sum", "_count")):
            assert f"`{name}`" in page
    for event in EVENTS:
        assert f"`{event}`" in page


def test_the_dashboard_has_no_panel_upon_another() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken
        assert at["x"] + at["w"] <= 24
        taken |= cells
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def test_the_specification_refuses_what_compose_would() -> None:
    for service in ({"imagee": "x"}, {"image": "x", "healthcheck": {"test": ["CMD"], "intervall": "1s"}}):
        with pytest.raises(ValidationError):
            ComposeSpecification.model_validate({"services": {"app": service}}, extra="forbid")


@pytest.mark.parametrize("name", COMPOSE)
def test_a_compose_file_keeps_to_the_specification(name: str) -> None:
    text = (DEPLOY / name).read_text()
    found = ComposeSpecification.model_validate(yaml.safe_load(text), extra="forbid")
    assert found.services
    for service in found.services.values():
        for needed in service.depends_on or {}:
            assert needed in found.services


def test_the_image_has_what_the_site_imports() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    extras = re.search(r"ratelimit-kit\[([a-z,]+)\]", text)
    assert extras
    known = tomllib.loads((EXAMPLES.parent / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(extras[1].split(",")) == {"redis", "memcached", "prometheus"} <= set(known)
    copied = re.search(r"^COPY (.*) \./$", text, re.MULTILINE)
    assert copied
    assert all((DEPLOY / file).is_file() for file in copied[1].split())
    assert re.search(r"^ENV BIND=0\.0\.0\.0:8000$", text, re.MULTILINE)  # in the container; elsewhere loopback
    assert '"BIND", "127.0.0.1:8000"' in (DEPLOY / "gunicorn.conf.py").read_text()


def native(service: dict[str, Any], port: int) -> list[str]:
    """The service's own command, on loopback and a free port."""
    command = list(service["command"])
    program, *words = command
    if program == "redis-server":
        return [need(program), *words, "--port", str(port), "--bind", "127.0.0.1"]
    if program == "memcached":
        return [need(program), *words, "-p", str(port), "-l", "127.0.0.1", "-u", "root"]
    return [python_program(program), *words]


@contextlib.contextmanager
def composed(name: str, folder: Path) -> Iterator[int]:
    """Run the processes of a Compose file by its own commands; yields the port of the site."""
    services = yaml.safe_load((DEPLOY / name).read_text())["services"]
    app = services.pop("app")
    with contextlib.ExitStack() as stack:
        environment = dict(app["environment"])
        for host, service in services.items():
            port = free_port()
            stack.enter_context(running(native(service, port), port, cwd=folder))
            store = environment["RATELIMIT_KIT_STORE"]
            environment["RATELIMIT_KIT_STORE"] = re.sub(rf"//{host}:\d+", f"//127.0.0.1:{port}", store)
        port = free_port()
        metrics = folder / "metrics"
        metrics.mkdir()
        environment |= {"BIND": f"127.0.0.1:{port}", "PROMETHEUS_MULTIPROC_DIR": str(metrics)}
        stack.enter_context(running(native(app, port), port, cwd=DEPLOY, env=environment))
        yield port


def samples(port: int) -> dict[tuple[str, str], float]:
    """The values that Prometheus reads, by rule and outcome."""
    text = request(port, "/metrics", method="GET").body.decode()
    return {
        (sample.labels["rule"], sample.labels["outcome"]): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "ratelimit_kit_requests_total"
    }


@pytest.mark.parametrize("name", COMPOSE)
def test_the_composed_site_holds_its_limits_and_counts_every_request(name: str, tmp_path: Path) -> None:
    """Four workers, one counter: the sums in Prometheus equal the requests that were sent."""
    with composed(name, tmp_path) as port:
        health = request(port, "/healthz", method="GET")
        assert (health.status, json.loads(health.body)["status"]) == (200, "pass")
        assert request(port, "/livez", method="GET").status == 200
        assert [request(port, "/login").status for _ in range(15)] == [200] * 10 + [429] * 5
        pages: list[int] = []
        workers = 0
        with ThreadPoolExecutor(4) as pool:
            while workers < 2 and len(pages) < 80:  # the others may still be starting
                pages += pool.map(lambda _: request(port, "/", method="GET").status, range(4))
                workers = len(list((tmp_path / "metrics").glob("counter_*.db")))
                time.sleep(0.2)
        assert set(pages) == {200}
        assert workers > 1
        seen = {("site", "allowed"): 15 + len(pages), ("login", "allowed"): 10, ("login", "denied"): 5}
        assert samples(port) == seen
