"""Health reports as load balancers and people read them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ratelimit_kit import Policy, Rule
from ratelimit_kit.asgi import HealthApplication as ASGIHealthApplication
from ratelimit_kit.wsgi import HealthApplication
from tests.outage.flaky import BUSY, FULL, ODD, Flaky, stop_the_clock
from tests.outage.flaky import DOWN as FAR
from tests.test_wsgi import call
from tests.web.identity.test_address import request

DOWN = "redis://:secret@127.0.0.1:1/0"


def policy(**options: Any) -> Policy:
    return Policy(Rule("5/minute"), **options)


@pytest.mark.parametrize(
    ("options", "status", "code"),
    [
        ({}, "pass", 200),
        ({"store": DOWN}, "warn", 200),
        ({"store": DOWN, "on_outage": "deny"}, "fail", 503),
        ({"store": DOWN, "on_outage": "raise"}, "fail", 503),
    ],
    ids=["up", "rides-it-out", "refuses", "raises"],
)
async def test_the_status_follows_the_outage_policy(options: Any, status: str, code: int) -> None:
    for health in (policy(**options).health(), await policy(**options).ahealth()):
        assert (health.status, health.http_status) == (status, code)
        document = json.loads(health.body())
        check = document["checks"]["store:responseTime"][0]
        assert document["status"] == check["status"] == status
        assert ("observedValue" in check) == (status == "pass")
        assert ("output" in check) == (status != "pass")


def test_the_answer_holds_no_address_and_no_secret() -> None:
    body = policy(store=DOWN).health().body()
    assert b"127.0.0.1" not in body
    assert b"secret" not in body
    assert b"RLK301" in body


def test_the_wsgi_application() -> None:
    application = HealthApplication(policy())
    status, fields, body = call(application, PATH_INFO="/healthz")
    assert status == "200 OK"
    assert dict(fields) == {"Content-Type": "application/health+json", "Cache-Control": "no-store"}
    assert json.loads(body[0])["status"] == "pass"
    assert call(application, REQUEST_METHOD="HEAD")[2] == [b""]


async def test_the_asgi_application() -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    application = ASGIHealthApplication(policy(store=DOWN, on_outage="deny"))
    await application({"type": "http", "method": "GET", "path": "/"}, None, send)  # type: ignore[arg-type]
    await application({"type": "http", "method": "HEAD", "path": "/"}, None, send)  # type: ignore[arg-type]
    await application({"type": "lifespan"}, None, send)  # type: ignore[arg-type]
    assert [message.get("status") for message in sent] == [503, None, 503, None]
    assert json.loads(sent[1]["body"])["status"] == "fail"
    assert sent[3]["body"] == b""


def test_the_answer_tells_of_mode_outage_and_workers() -> None:
    def checks(one: Policy) -> dict[str, Any]:
        return {name: check[0] for name, check in one.health().checks.items()}

    well = checks(policy(workers=1))
    assert {name: check["status"] for name, check in well.items()} == dict.fromkeys(well, "pass")
    assert (well["mode"]["observedValue"], well["workers"]["observedValue"]) == ("enforce", 1)
    off = policy(mode="shadow")
    assert (off.health().status, checks(off)["mode"]["observedValue"]) == ("warn", "shadow")
    down = policy(store=DOWN)
    assert checks(down)["degraded"]["observedValue"] is False
    down.check(request())
    assert checks(down)["degraded"]["observedValue"] is True


async def test_liveness_asks_no_store() -> None:
    down = policy(store=DOWN, on_outage="deny")
    status, _, body = call(HealthApplication(down, live=True))
    assert (status, json.loads(body[0])) == ("200 OK", {"status": "pass", "checks": {}})
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    await ASGIHealthApplication(down, live=True)({"type": "http", "method": "GET", "path": "/"}, None, send)  # type: ignore[arg-type]
    assert sent[0]["status"] == 200


LOGIN = Rule("5/minute", name="login", on_outage="deny", paths=["/login"])


@pytest.mark.parametrize(
    ("rules", "options", "status", "said"),
    [
        ([Rule("5/minute", on_outage="local")], {"on_outage": "deny"}, "warn", "full limits on its own"),
        ([Rule("5/minute", on_outage="deny")], {}, "fail", "requests are refused"),
        ([LOGIN, Rule("9/minute", name="site")], {}, "warn", "login: requests are refused; other rules: each process"),
        ([LOGIN], {"mode": "shadow"}, "warn", "no rule is enforced"),
    ],
    ids=["local", "deny", "both", "shadow"],
)
async def test_the_status_follows_the_rules_in_force(rules: list[Rule], options: Any, status: str, said: str) -> None:
    away = Policy(*rules, store=DOWN, **options)
    for health in (away.health(), await away.ahealth()):
        assert health.status == status
        assert said in health.checks["store:responseTime"][0]["output"]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (FAR, "the store is not available [RLK301]; by on_outage='allow' requests are admitted"),
        (BUSY, "the store answers, but is too busy [RLK302]; by on_outage='allow' requests are refused, because"),
        (FULL, "the store answers, but refuses calls [RLK304]; by on_outage='allow' requests are refused, because"),
    ],
    ids=["away", "busy", "full"],
)
def test_a_store_that_answers_is_told_from_one_that_does_not(
    monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    store = Flaky()
    one = Policy(Rule("5/minute"), store=store, on_outage="allow")
    monkeypatch.setattr(store, "ping", lambda: (_ for _ in ()).throw(error))
    health = one.health()
    assert health.checks["store:responseTime"][0]["output"].startswith(said)
    assert health.status == ("warn" if error is FAR else "fail")


@pytest.mark.parametrize(
    ("error", "code"), [(FULL, "RLK304"), (ODD, "RLK300"), (BUSY, None)], ids=["full", "odd", "busy"]
)
async def test_refused_calls_are_a_warning_for_ten_seconds(
    monkeypatch: pytest.MonkeyPatch, error: Exception, code: str | None
) -> None:
    forward = stop_the_clock(monkeypatch)
    store = Flaky()
    site = Policy(LOGIN, Rule("9/minute", name="site"), store=store)
    store.error = error
    site.check(request())
    for health in (site.health(), await site.ahealth()):
        check = health.checks["degraded"][0]
        assert health.status == check["status"] == ("warn" if code else "pass")
        assert check["observedValue"] is bool(code)
        assert (f"[{code}]; for these, login: requests are refused; other rules" in check.get("output", "")) is bool(
            code
        )
    forward(10)
    assert site.health().status == "pass"


async def test_a_store_that_answers_pings_and_decides_nothing_is_no_store(caplog: pytest.LogCaptureFixture) -> None:
    store = Flaky()
    site = Policy(Rule("9/minute"), store=store, on_outage="deny", workers=1)
    for _ in range(2):
        store.error = FAR
        assert site.check(request()).status == 503
        assert (site.health().http_status, (await site.ahealth()).http_status) == (503, 503)
        store.error = None  # and nobody asks: no traffic reaches what is not healthy
        assert site.health().http_status == 200
        assert site.check(request()).status == 0
    assert "answers again" in caplog.text
