"""A trusted proxy whose field never arrives leaves all its clients with one address: there is one warning of it."""

from __future__ import annotations

from typing import Any

import pytest

from ratelimit_kit import MemoryStore, Policy, Rule
from tests import integrations
from tests.web.identity.test_address import request
from tests.web.rules.test_costs import Heard

XFF = {"x-forwarded-for": "203.0.113.9"}


def told(requests: list[Any], **options: Any) -> list[str]:
    heard = Heard()
    trusted = {"trusted_proxies": ["10.0.0.0/8"], **options}
    site = Policy(Rule("9999/minute"), store=MemoryStore(), workers=1, observer=heard, **trusted)
    for one in requests:
        site.check(one)
    return [event.facts["warning"] for event in heard.events]


def from_proxy(number: int, **options: Any) -> list[Any]:
    return [request(peer="10.1.1.1", **options) for _ in range(number)]


def test_twenty_requests_in_a_row_without_the_field_are_told_once() -> None:
    assert told(from_proxy(19)) == []
    assert told(from_proxy(60)) == ["RLK261"]
    assert told([*from_proxy(19), *from_proxy(1, fields=XFF), *from_proxy(19)]) == []
    assert told([*from_proxy(19), *from_proxy(1, fields=XFF), *from_proxy(20)]) == ["RLK261"]


def test_clients_that_come_past_the_proxy_are_no_silent_proxy() -> None:
    assert told([request(peer="203.0.113.9") for _ in range(60)]) == []
    assert told(from_proxy(60, fields=XFF)) == []
    assert told(from_proxy(60), trusted_proxies=()) == []


def test_health_checks_of_the_balancer_are_not_counted() -> None:
    assert told(from_proxy(60, path="/healthz"), exempt=["/healthz"]) == []


@pytest.mark.parametrize("options", [{"trusted_proxies": 1}, {"trusted_proxies": ["unix"]}])
def test_a_number_of_proxies_and_a_socket_are_proxies_too(options: dict[str, Any]) -> None:
    peer = None if options["trusted_proxies"] == ["unix"] else "203.0.113.1"
    assert told([request(peer=peer) for _ in range(20)], **options) == ["RLK261"]


@pytest.mark.parametrize("way", integrations.WAYS)
def test_a_request_is_counted_once_by_a_middleware_and_a_decorator(way: str) -> None:
    heard = Heard()
    name, _, decorator = way.partition(" ")
    decorate = integrations.DECORATORS[name]("9999/minute") if decorator else (lambda view: view)
    options = {"trusted_proxies": ["10.0.0.0/8"], "observer": heard}
    with integrations.site(name, Rule("9999/minute"), decorate=decorate, **options) as site:
        site.statuses(19, address="10.1.1.1")
        assert heard.events == []
        site.statuses(2, address="10.1.1.1")
        assert [event.facts["warning"] for event in heard.events] == ["RLK261"]


async def test_a_field_with_underscores_is_another_field_in_django_under_asgi() -> None:
    """Some releases of Django merge the two in META, as WSGI servers do."""
    from django.core.handlers.asgi import ASGIRequest

    from ratelimit_kit.django.site import translate

    scope = {
        "type": "http",
        "method": "GET",
        "path": "/",
        "headers": [(b"x-forwarded-for", b"203.0.113.9"), (b"x_forwarded_for", b"6.6.6.6")],
        "client": ("10.1.1.1", 1),
        "query_string": b"",
    }
    asked = ASGIRequest(scope, None)
    asked.META["HTTP_X_FORWARDED_FOR"] = "203.0.113.9,6.6.6.6"
    site = Policy(Rule("1/minute"), store=MemoryStore(), workers=1, trusted_proxies=["10.0.0.0/8"])
    assert site.address_of(translate(asked)) == "203.0.113.9"
