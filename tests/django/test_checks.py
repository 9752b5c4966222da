"""Django's system checks report what the integrations would refuse, under the same codes."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.checks import run_checks
from django.test import Client, override_settings

from ratelimit_kit import MemoryStore

RULES = [{"limits": "5/minute"}]


def found(deploy: bool = False, **settings: Any) -> list[str]:
    with override_settings(**settings):
        messages = run_checks(tags=["security"], include_deployment_checks=deploy)
        return [str(message.id) for message in messages if str(message.id).startswith("ratelimit_kit.")]


def config(**options: Any) -> dict[str, Any]:
    return {"RATELIMIT_KIT": {"store": MemoryStore(), "rules": RULES, **options}}


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (config(), []),
        ({"RATELIMIT_KIT": None}, []),
        (config(workers=4), ["ratelimit_kit.E201"]),
        (config(rules=[{"limits": "5/mnute"}]), ["ratelimit_kit.E101"]),
        (config(rules=[{"limits": "token-bucket: 9/second burst 5", "cost": 6}]), ["ratelimit_kit.E102"]),
        (config(rules=[{"limits": "5/minute", "name": "naïve"}]), ["ratelimit_kit.E103"]),
        (config(rulse=[]), ["ratelimit_kit.E103"]),
        (config(rules=[]), ["ratelimit_kit.E103"]),
        (config(rules=[{"limits": ["10/minute", "1000/hour"]}]), ["ratelimit_kit.E207"]),
        ({**config(), "MIDDLEWARE": []}, ["ratelimit_kit.E209"]),
        ({**config(rules=[]), "MIDDLEWARE": []}, []),
        (config(store="django-cache://default"), ["ratelimit_kit.E203"]),
    ],
    ids=str,
)
def test_what_can_be_seen_without_the_network(settings: Any, expected: list[str]) -> None:
    assert found(**settings) == expected


def test_the_store_is_asked_for_a_deployment() -> None:
    settings = config(store="django-cache://default")
    assert found(deploy=True, **settings) == ["ratelimit_kit.E203"]  # once, by the check that needs no network
    assert found(deploy=True, **config(workers=4)) == ["ratelimit_kit.E201"]
    assert found(deploy=True, **config(store="redis://127.0.0.1:1/0")) == ["ratelimit_kit.E204"]


def test_a_warning_of_the_store_is_a_warning() -> None:
    class Clustered(MemoryStore):
        clustered = True

    several = [{"limits": "5/minute"}, {"limits": "100/hour"}]
    assert found(deploy=True, **config(store=Clustered(), rules=several)) == ["ratelimit_kit.W252"]
    assert found(deploy=True, **config(store=Clustered())) == []


def test_the_health_view_answers_for_the_site() -> None:
    answer = Client().get("/healthz")
    assert answer.status_code == 200
    assert answer["Content-Type"] == "application/health+json"
    assert answer["Cache-Control"] == "no-store"
    assert answer.json()["status"] == "pass"
    assert Client().head("/healthz").content == b""
    with override_settings(
        **config(store="redis://127.0.0.1:1/0", on_outage="deny", start_without_store=True, exempt=["/healthz"])
    ):
        assert Client().get("/healthz").status_code == 503
