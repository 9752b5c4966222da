"""What an operator is told of an outage: the outcome under each rule in force, never that of whoever came first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ratelimit_kit import Limiter, Policy, Rule
from ratelimit_kit.errors import StoreUnavailableError
from ratelimit_kit.outage import Outcomes, meanwhile
from tests.outage.flaky import BUSY, DOWN, FULL, ODD, Flaky, Forward
from tests.web.identity.test_address import request

LOCAL = "each process applies the full limits on its own"
REFUSED = "requests are refused"
SITE = Rule("100/minute", name="site")
LOGIN = Rule("5/minute", name="login", paths=["/login"], on_outage="deny")
SEARCH = Rule("9/minute", name="search", paths=["/search"], fallback=["1/minute"])
BUY = Rule("9/minute", name="buy", paths=["/buy"], on_outage="raise")
COURTESY = Rule("9/minute", name="feed", paths=["/feed"], on_outage="allow")
SEEN = Rule("9/minute", name="seen", on_outage="deny", shadow=True)


def policy(*rules: Rule, **options: Any) -> Policy:
    return Policy(*rules, start_without_store=True, **options)


@pytest.mark.parametrize(
    ("rules", "options", "said", "admits"),
    [
        ([SITE], {}, f"by on_outage='local' {LOCAL}", True),
        ([Rule("5/minute", on_outage="local")], {"on_outage": "deny"}, f"by on_outage='local' {LOCAL}", True),
        ([Rule("5/minute", on_outage="deny")], {}, f"by on_outage='deny' {REFUSED}", False),
        ([LOGIN, SITE], {}, f"login: {REFUSED}; other rules: {LOCAL}", True),
        ([SITE, LOGIN, BUY], {"on_outage": "allow"},
         f"login: {REFUSED}; buy: StoreError is raised; other rules: requests are admitted without a count", True),
        ([SEARCH, SITE], {}, f"search: each process applies the fallback 1/minute on its own; other rules: {LOCAL}", True),
        ([LOGIN, SEARCH], {"fallback": ["3/minute"]},
         f"login: {REFUSED}; search: each process applies the fallback 1/minute on its own", True),
        ([Rule("5/minute", name="all", on_outage="deny"), SEARCH], {},
         f"all: {REFUSED}; search: each process applies the fallback 1/minute on its own", False),
        ([Rule("5/minute", name="chat", on_outage="deny", messages=True), SEARCH], {},
         f"chat: {REFUSED}; search: each process applies the fallback 1/minute on its own", True),
        ([SITE, SEEN], {}, f"by on_outage='local' {LOCAL}", True),
        ([SEEN], {"on_outage": "deny"}, "no rule is enforced, so requests are admitted", True),
        ([LOGIN], {"mode": "shadow"}, "no rule is enforced, so requests are admitted", True),
        ([], {"on_outage": "deny"}, f"by on_outage='deny' {REFUSED}", False),
    ],
)  # fmt: skip
def test_outcomes_are_those_of_the_rules_in_force(rules: list[Rule], options: Any, said: str, admits: bool) -> None:
    outcomes = policy(*rules, **options).outcomes
    assert (str(outcomes), outcomes.admits) == (said, admits)


def test_a_store_that_answers_admits_nothing_without_a_count() -> None:
    outcomes = Outcomes(meanwhile("allow")).while_alive()
    assert str(outcomes) == "by on_outage='allow' requests are refused, because the store answers"
    assert not outcomes.admits
    assert Outcomes(meanwhile("local")).while_alive().admits


def test_rules_of_decorators_belong_to_it_once_they_are_bound() -> None:
    site = policy(SITE)
    site.bind(Rule("5/minute", on_outage="deny"), "page")
    site.bind(SEEN, "seen")
    assert str(site.outcomes) == f"page: {REFUSED}; other rules: {LOCAL}"
    for number in range(1000):
        site.bind(Rule("5/minute", on_outage="deny"), f"page-{number}")
    assert len(site.outcomes.rules) == 101


def test_a_reload_changes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ratelimit_kit.web.policy.reload.RECHECK_SECONDS", 0)
    file = tmp_path / "policy.toml"
    file.write_text('on_outage = "deny"\n[[rules]]\nlimits = "5/minute"\n')
    site = Policy.from_file(file)
    site.bind(Rule("5/minute", on_outage="local"), "page")
    file.write_text('on_outage = "allow"\n[[rules]]\nlimits = "5/minute"\n')
    assert "admitted" in site.health().checks["mode"][0].get("output", "admitted")
    assert str(site.outcomes) == f"page: {LOCAL}; other rules: requests are admitted without a count"


@pytest.mark.parametrize("path", ["/", "/login"])
@pytest.mark.parametrize("error", [DOWN, FULL, BUSY, ODD], ids=lambda error: type(error).__name__)
def test_the_log_names_every_outcome_whoever_comes_first(
    store: Flaky, error: Any, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    site = policy(SITE, LOGIN, store=store)
    store.error = error
    site.check(request(path=path))
    (record,) = caplog.records
    assert record.getMessage().endswith(f"Meanwhile, login: {REFUSED}; other rules: {LOCAL}")


def test_an_outage_since_the_start_is_told_when_a_decision_meets_it(
    store: Flaky, wait: Forward, caplog: pytest.LogCaptureFixture
) -> None:
    store.error = DOWN
    site = policy(SITE, store=store)
    site.start()
    assert site.health().checks["degraded"][0]["observedValue"] is True
    for _ in range(3):
        wait(1)
        site.check(request())
    told = [record.ratelimit["event"] for record in caplog.records]  # type: ignore[attr-defined]
    assert told == ["startup-warning", "store-outage"]
    store.error = None
    wait(1)
    site.check(request())
    assert site.health().status == "pass"


def test_a_limiter_has_one_outcome(store: Flaky, caplog: pytest.LogCaptureFixture) -> None:
    store.error = DOWN
    Limiter("5/minute", store=store, on_outage="deny").hit("key")
    assert caplog.messages[0].endswith(f"Meanwhile, by on_outage='deny' {REFUSED}")


def test_another_cause_of_the_same_outage_is_told_once(
    store: Flaky, wait: Forward, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [500.0]
    monkeypatch.setattr("ratelimit_kit.observe.log.time.monotonic", lambda: now[0])
    limiter = Limiter("5/minute", store=store, on_outage="local")
    for cause in ["refused", "refused", "garbage", "refused", "password", *map(str, range(20))]:
        store.error = StoreUnavailableError(cause)
        limiter.hit("key")
        now[0] += 5
        wait(5)
    told = [message.split(" [")[0] for message in caplog.messages]
    assert told == ["refused", "garbage", "password", "0", "1", "2", "3", "4"]
    store.error = None
    limiter.hit("key")
    wait(5)
    now[0] += 5
    store.error = StoreUnavailableError("refused")
    limiter.hit("key")
    assert [message.split(" [")[0] for message in caplog.messages[-1:]] == ["refused"]
