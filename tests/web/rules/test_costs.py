"""Costs that a client chooses: one that no limit can ever admit is refused, and never causes a server error."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ratelimit_kit import CostError, MemoryStore, Policy, Rule
from ratelimit_kit.errors import OptionError
from ratelimit_kit.observe import Observer
from tests import integrations
from tests.integrations import WAYS, limited
from tests.web.identity.test_address import request


def asked(one: Any) -> int:
    return int(one.headers.get("x-items", "1"))


@pytest.mark.parametrize("cost", ["101", "999999999999999999999", "-1"])
@pytest.mark.parametrize("way", WAYS)
def test_a_cost_above_the_limit_is_refused_without_a_time_to_wait(way: str, cost: str) -> None:
    with limited(way, "100/minute", cost=asked, name="batch") as site:
        refused = site.ask(fields=[("x-items", cost)])
        assert refused.status == 429
        assert "retry-after" not in refused.fields
        assert json.loads(refused.body)["detail"].startswith("This request asks for an amount")
        assert json.loads(refused.body)["violated-policies"] == ["batch"]
        assert site.ran == []
        assert site.ask(fields=[("x-items", "100")]).status == 200
        later = site.ask(fields=[("x-items", "1")])
        assert (later.status, "retry-after" in later.fields) == (429, True)


@pytest.mark.parametrize("way", ["wsgi", "asgi", "flask", "django", "fastapi", "flask decorator", "fastapi decorator"])
def test_or_as_too_large(way: str) -> None:
    name, _, decorated = way.partition(" ")
    rule = Rule("100/minute", cost=asked, name="batch")
    decorate = (
        integrations.DECORATORS[name]("100/minute", cost=asked, name="batch") if decorated else (lambda view: view)
    )
    with integrations.site(name, *([] if decorated else [rule]), decorate=decorate, cost_status=413) as site:
        refused = site.ask(fields=[("x-items", "101"), ("accept", "text/plain")])
        assert (refused.status, "retry-after" in refused.fields) == (413, False)
        assert refused.body.startswith(b"Request too large. ")


@pytest.mark.parametrize("status", [400, 500, "413", True, None])
def test_other_statuses_are_refused(status: Any) -> None:
    with pytest.raises(OptionError, match=r"cost_status must be 429 or 413"):
        Policy(Rule("1/minute"), cost_status=status)


def test_a_tier_below_the_cost_refuses_too() -> None:
    site = Policy(Rule(lambda one: one.headers["x-plan"], cost=5, name="tier"), store="memory://", workers=1)
    assert site.check(request(fields={"x-plan": "3/minute"})).status == 429
    assert not site.check(request(fields={"x-plan": "5/minute"})).denied


def test_other_limits_of_the_request_are_not_charged() -> None:
    site = Policy(
        Rule("1/minute", name="site"), Rule("3/minute", cost=asked, name="batch"), store="memory://", workers=1
    )
    assert site.check(request(fields={"x-items": "4"})).denied
    assert not site.check(request(fields={"x-items": "3"})).denied


@pytest.mark.parametrize("cost", [1.5, "3", None, True])
def test_what_is_no_number_of_units_is_a_mistake_and_said_to_be_one(cost: Any) -> None:
    site = Policy(Rule("3/minute", cost=lambda _: cost, name="batch"), store="memory://", workers=1)
    with pytest.raises(CostError, match="the cost of rule 'batch' must be a whole number"):
        site.check(request())


class Heard(Observer):
    counting = True

    def __init__(self) -> None:
        self.decisions: list[Any] = []
        self.events: list[Any] = []

    def on_decision(self, decided: Any) -> None:
        self.decisions.append(decided)

    def on_event(self, event: Any) -> None:
        self.events.append(event)


def test_a_rule_that_only_looks_refuses_nobody_and_says_so() -> None:
    heard = Heard()
    rules = [Rule("3/minute", cost=asked, name="batch", shadow=True), Rule("9/minute", name="site", shadow=True)]
    site = Policy(*rules, store=MemoryStore(), workers=1, observer=heard)
    assert not site.check(request(fields={"x-items": "4"})).denied
    assert [(one.rule, one.outcome, one.seconds is None) for one in heard.decisions] == [
        ("batch", "shadow-denied", True),
        ("site", "allowed", False),
    ]
    assert [one.name for one in heard.events] == ["shadow-denied"]


def test_observers_count_what_is_refused() -> None:
    heard = Heard()
    site = Policy(Rule("3/minute", cost=asked, name="batch"), store=MemoryStore(), workers=1, observer=heard)
    assert site.check(request(fields={"x-items": "4"})).denied
    assert [(one.rule, one.outcome) for one in heard.decisions] == [("batch", "denied")]


def test_a_denial_of_ones_own_is_told_that_no_wait_helps() -> None:
    told: list[Any] = []

    def denial(one: Any) -> str:
        told.append((one.helps, one.wait, one.status))
        return one.detail

    site = Policy(Rule("3/minute", cost=asked), store=MemoryStore(), workers=1, denial=denial)
    assert site.check(request(fields={"x-items": "4"})).body.startswith(b"This request asks")
    assert told == [(False, 0, 429)]


async def test_a_message_that_costs_too_much_ends_its_websocket() -> None:
    from ratelimit_kit.asgi import RateLimitMiddleware

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        assert (await receive())["type"] == "websocket.disconnect"

    rule = Rule("3/minute", messages=True, cost=lambda _: 4, name="chat")
    incoming = [{"type": "websocket.receive", "text": "x"}, {"type": "websocket.connect"}]
    sent: list[Any] = []

    async def receive() -> Any:
        return incoming.pop()

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "websocket", "path": "/", "headers": [], "client": ("203.0.113.9", 1)}
    await RateLimitMiddleware(application, Policy(rule, store=MemoryStore(), workers=1))(scope, receive, send)
    assert sent[-1] == {"type": "websocket.close", "code": 1013, "reason": "This message asks for too much"}
