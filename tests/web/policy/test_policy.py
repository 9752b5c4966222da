from __future__ import annotations

import json
import re
from typing import Any

import pytest

from ratelimit_kit import CostError, MemoryStore, Policy, QuotaError, Rule, SlidingWindow
from ratelimit_kit.errors import OptionError, StoreUnavailableError, StoreUnreachableError, UnsafeWorkersError
from ratelimit_kit.testing import ManualClock
from ratelimit_kit.web.http.messages import Response
from ratelimit_kit.web.response.denial import preferred
from ratelimit_kit.web.response.result import CheckResult
from tests.outage.flaky import FULL, Flaky
from tests.web.identity.test_address import request


class BrokenStore(MemoryStore):
    """A store whose server is down."""

    def decide(self, charges: Any) -> Any:
        raise StoreUnavailableError("the server is gone")

    def ping(self) -> None:
        raise StoreUnavailableError("the server is gone")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def fields(answer: CheckResult) -> list[tuple[str, str]]:
    """The fields that a plain response gets."""
    return answer.finish(Response(200, {}))


def policy(*rules: Rule, **options: Any) -> Policy:
    return Policy(*rules, **{"store": MemoryStore(clock=ManualClock()), **options})


def test_the_answer_tells_the_whole_story() -> None:
    site = policy(Rule("2/minute", name="login"))
    passed = site.check(request())
    assert not passed.denied
    assert fields(passed) == [("RateLimit-Policy", '"login";q=2;w=60'), ("RateLimit", '"login";r=1;t=30')]
    site.check(request())
    answer = site.check(request())
    assert (answer.status, answer.reason) == (429, "Too Many Requests")
    assert answer.headers == [
        ("Content-Type", "application/problem+json"),
        ("Content-Length", str(len(answer.body))),
        ("Cache-Control", "no-store"),
        ("Vary", "Accept"),
        ("Retry-After", "60"),
        ("RateLimit-Policy", '"login";q=2;w=60'),
        ("RateLimit", '"login";r=0;t=60'),
    ]
    assert json.loads(answer.body)["violated-policies"] == ["login"]


async def test_async_decides_the_same() -> None:
    site = policy(Rule("1/minute"))
    assert not (await site.acheck(request())).denied
    assert (await site.acheck(request())).denied
    assert site.check(request()).denied


def test_several_rules_are_decided_at_once_or_not_at_all() -> None:
    site = policy(
        Rule("10/minute; 100/day", key="ip", name="all"), Rule("1/minute", key="global", name="login", paths=["/login"])
    )
    assert not site.check(request(path="/login")).denied
    denied = site.check(request(path="/login"))
    assert denied.denied
    assert json.loads(denied.body)["violated-policies"] == ["login"]
    sent = dict(denied.headers)
    assert sent["RateLimit"].startswith('"all-minute";r=9;t=')
    assert sent["RateLimit-Policy"] == '"all-minute";q=10;w=60, "all-day";q=100;w=86400, "login";q=1;w=60'
    assert '"all-minute";r=8' in dict(fields(site.check(request(path="/"))))["RateLimit"]


@pytest.mark.parametrize(
    ("paths", "path", "limited"),
    [
        (["/login"], "/login", True),
        (["/login"], "/login/", True),
        (["/login"], "/Login", False),
        (["/api/*"], "/api/users", True),
        (["/api/*"], "/api", True),
        (["/api/*"], "/apis", False),
        (["/*"], "/anything", True),
        ([re.compile(r"^/users/\d+$")], "/users/42", True),
        ([re.compile(r"^/users/\d+$")], "/users/me", False),
        (None, "/no-such-page", True),
    ],
)
def test_paths_choose_requests(paths: Any, path: str, limited: bool) -> None:
    site = policy(Rule("1/minute", paths=paths))
    assert site.check(request(path=path)).touches is limited


def test_methods_conditions_and_costs_choose_requests() -> None:
    site = policy(
        Rule(
            "5/minute", methods=["post"], when=lambda one: one.path != "/free", cost=lambda one: len(one.path), name="r"
        )
    )
    assert not site.check(request()).touches
    assert not site.check(request(method="POST", path="/free")).touches
    assert dict(fields(site.check(request(method="POST", path="/abc"))))["RateLimit"] == '"r";r=1;t=12'
    beyond = site.check(request(method="POST", path="/too-long"))
    assert (beyond.status, "Retry-After" in dict(beyond.headers)) == (429, False)


def test_exempt_paths_are_not_counted_and_preflights_for_themselves() -> None:
    site = policy(Rule("1/minute"), exempt=["/healthz"])
    preflight = {"origin": "https://example.org", "access-control-request-method": "POST"}
    for _ in range(3):
        assert not site.check(request(path="/healthz")).denied
    assert not site.check(request(method="OPTIONS", fields=preflight)).denied
    assert site.check(request(method="OPTIONS", fields=preflight)).denied
    assert not site.check(request(method="OPTIONS")).denied
    assert site.check(request(method="OPTIONS")).denied


def test_proxies_are_trusted_only_when_named() -> None:
    trusting = policy(Rule("1/minute"), trusted_proxies=["192.0.2.0/24"])
    assert not trusting.check(request(fields={"x-forwarded-for": "203.0.113.1"})).denied
    assert not trusting.check(request(fields={"x-forwarded-for": "203.0.113.2"})).denied
    assert trusting.check(request(fields={"x-forwarded-for": "203.0.113.2"})).denied
    careful = policy(Rule("1/minute"))
    assert not careful.check(request(fields={"x-forwarded-for": "203.0.113.1"})).denied
    assert careful.check(request(fields={"x-forwarded-for": "203.0.113.2"})).denied


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("", "application/problem+json"),
        ("*/*", "application/problem+json"),
        ("application/json", "application/json"),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "text/html"),
        ("text/plain", "text/plain"),
        ("text/*", "text/html"),
        ("text/html;q=0.1, text/plain;q=0.5", "text/plain"),
        ("image/png", "application/problem+json"),
        ("text/html;q=nonsense, */*;q=0.1", "application/problem+json"),
    ],
)
def test_the_body_is_what_the_client_prefers(accept: str, form: str) -> None:
    assert preferred(accept) == form
    site = policy(Rule("1/minute"))
    site.check(request())
    answer = site.check(request(fields={"accept": accept}))
    kind = dict(answer.headers)["Content-Type"]
    if form.startswith("text/"):
        assert kind == f"{form}; charset=utf-8"
        assert b"Try again in 60 seconds." in answer.body
    else:
        assert kind == "application/problem+json"
        assert json.loads(answer.body)["status"] == 429


def test_head_is_answered_without_a_body() -> None:
    site = policy(Rule("1/minute"))
    site.check(request())
    answer = site.check(request(method="HEAD"))
    assert answer.body == b""
    assert int(dict(answer.headers)["Content-Length"]) > 0


@pytest.mark.parametrize(
    ("rules", "status"),
    [(["allow"], 0), (["deny"], 503), (["allow", "deny"], 503), ([None], 0)],
)
def test_an_outage_goes_by_the_strictest_rule(rules: list[Any], status: int) -> None:
    site = policy(*(Rule(f"{5 + n}/minute", on_outage=word) for n, word in enumerate(rules)), store=BrokenStore())
    answer = site.check(request())
    assert answer.status == status
    assert not any(name.startswith("RateLimit") for name, _ in answer.headers)
    if status:
        assert dict(answer.headers)["Retry-After"] == "1"
        assert json.loads(answer.body)["type"].endswith("#temporary-reduced-capacity")


def test_an_outage_can_be_raised() -> None:
    with pytest.raises(StoreUnavailableError):
        policy(Rule("5/minute", on_outage="raise"), store=BrokenStore()).check(request())


def test_an_unreachable_store_refuses_the_start(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(
        StoreUnreachableError,
        match=r"the server is gone\. Starting now.*start_without_store=True\. For tests.* \[RLK204\]",
    ) as caught:
        policy(Rule("5/minute"), store=BrokenStore()).start()
    assert isinstance(caught.value, SystemExit)
    assert caught.value.code == 3
    assert capsys.readouterr().err.count("[RLK204]") == 1
    policy(Rule("5/minute"), store=BrokenStore(), start_without_store=True).start()


@pytest.mark.parametrize("replaces", [False, True], ids=["by option", "a replaced worker"])
@pytest.mark.parametrize("on_outage", ["local", "deny", "raise"])
async def test_a_start_without_the_store_is_said_once(
    on_outage: Any, replaces: bool, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ratelimit_kit.web.policy.startup.replaces_another", lambda: replaces)
    site = policy(Rule("5/minute"), store=BrokenStore(), start_without_store=not replaces, on_outage=on_outage)
    site.start(asynchronous=True)
    assert await site.abegin() is None
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert record.ratelimit == {"event": "startup-warning", "warning": "RLK204"}  # type: ignore[attr-defined]
    assert (
        f"the server is gone. This process starts all the same: meanwhile, by on_outage='{on_outage}' " in caplog.text
    )
    assert site.health().checks["degraded"][0]["observedValue"] is True


def test_a_full_store_at_the_start_is_said_and_no_outage(caplog: pytest.LogCaptureFixture) -> None:
    store = Flaky()
    store.error = FULL
    site = policy(Rule("5/minute"), store=store, start_without_store=True)
    site.start()
    assert "the store is full. This process starts all the same" in caplog.text
    assert site.health().checks["degraded"][0]["observedValue"] is False


def test_declared_workers_refuse_a_memory_store(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UnsafeWorkersError, match=r"MemoryStore counts per process, and workers=4 is declared.*RLK201"):
        policy(Rule("5/minute"), workers=4).start()
    monkeypatch.setenv("RATELIMIT_KIT_WORKERS", "3")
    with pytest.raises(
        UnsafeWorkersError, match="RATELIMIT_KIT_WORKERS=3 is declared: each client would get 3 x its quota"
    ):
        policy(Rule("5/minute")).start()
    policy(Rule("5/minute"), workers=1).start()
    monkeypatch.setenv("RATELIMIT_KIT_WORKERS", "many")
    with pytest.raises(OptionError, match="RATELIMIT_KIT_WORKERS='many' is not a number"):
        policy(Rule("5/minute")).start()
    assert capsys.readouterr().err.count("[RLK201]") == 2


@pytest.mark.parametrize(
    ("make", "error", "hint"),
    [
        (lambda: Policy(Rule("5/minute"), header="draft11"), OptionError, "Policy has no option 'header'; did you mean 'headers'?"),
        (lambda: Policy(Rule("5/minute"), headers="draft12"), OptionError, "did you mean 'draft11'"),
        (lambda: Policy(Rule("5/minute"), on_outage="open"), OptionError, "not an outage policy"),
        (lambda: Policy(Rule("5/minute"), exempt="/healthz"), OptionError, "exempt=['/healthz']"),
        (lambda: Policy(Rule("5/minute"), workers=0), OptionError, "workers=0"),
        (lambda: Policy("5/minute"), OptionError, "must be a Rule"),
        (lambda: Policy(Rule("5/minute", name="a"), Rule("6/minute", name="a")), OptionError, "share their counters"),
        (lambda: Policy().start(), OptionError, "limits nothing"),
        (Rule, QuotaError, "no limit"),
        (lambda: Rule("5/minute", cost=6), CostError, "above 5"),
        (lambda: Rule("5/minute", paths=[]), OptionError, "limit nothing"),
        (lambda: Rule("5/minute", paths="/login"), OptionError, "paths=['/login']"),
        (lambda: Rule("5/minute", paths=["login"]), OptionError, "not a path pattern"),
        (lambda: Rule("5/minute", paths=["/a/*/b"]), OptionError, "not a path pattern"),
        (lambda: Rule("5/minute", methods="POST"), OptionError, "methods=['POST']"),
        (lambda: Rule("5/minute", methods=["PO ST"]), OptionError, "not an HTTP method"),
        (lambda: Rule("5/minute", when=True), OptionError, "must be a callable"),
        (lambda: Rule("5/minute", name="löwe"), OptionError, "printable ASCII"),
        (lambda: Rule("5/minute", name="a\r\nb"), OptionError, "printable ASCII"),
        (lambda: Rule("5/minute", on_outage="open"), OptionError, "not an outage policy"),
    ],
)  # fmt: skip
def test_what_cannot_be_honoured_is_an_error(make: Any, error: type[Exception], hint: str) -> None:
    with pytest.raises(error, match=re.escape(hint)):
        make()


def test_a_policy_from_plain_data() -> None:
    site = Policy.from_config(
        {
            "store": MemoryStore(),
            "headers": "none",
            "rules": [
                {
                    "limits": "5/minute",
                    "key": ["ip", "global"],
                    "paths": ["/login"],
                    "methods": ["POST"],
                    "name": "login",
                },
                {"limits": ["100/minute", SlidingWindow(1000, per="day")]},
                Rule("7/minute", name="ready-made"),
            ],
        }
    )
    assert [named.name for named in site.rules] == ["login", "rule-2", "ready-made"]
    assert len(site.rules[1].rule.limits) == 2


@pytest.mark.parametrize(
    ("config", "hint"),
    [
        ({"rules": [], "stor": "memory://"}, "the policy has no option 'stor'; did you mean 'store'?"),
        ({"rules": [{"limits": "5/minute", "key_func": "ip"}]}, "rule 1 has no option 'key_func'; did you mean 'key'"),
        ({"rules": [{"limits": "5/minute", "shadows": True}]}, "rule 1 has no option 'shadows'; did you mean 'shadow'"),
        ({"rules": [{"limit": "5/minute"}]}, "rule 1 has no option 'limit'; did you mean 'limits'?"),
        ({"rules": [{"key": "ip"}]}, 'rule 1 needs "limits"'),
        ({"rules": ["5/minute"]}, 'rule 1 needs "limits"'),
        ({"rules": {"limits": "5/minute"}}, "list of mappings"),
        (["5/minute"], "a policy must be a mapping"),
    ],
)
def test_plain_data_that_cannot_be_read_is_an_error(config: Any, hint: str) -> None:
    with pytest.raises(OptionError, match=re.escape(hint)):
        Policy.from_config(config)


class Counted(MemoryStore):
    """A store with cacheable denials, which counts how often it is called."""

    denials_cacheable = True
    asked = 0

    def decide(self, charges: Any) -> Any:
        self.asked += 1
        return super().decide(charges)


@pytest.mark.about("denials")
@pytest.mark.parametrize(("option", "asked"), [({}, 2), ({"deny_cache": False}, 5)], ids=["on", "off"])
def test_a_denial_is_answered_from_memory_where_that_is_wanted(option: Any, asked: int) -> None:
    store = Counted()
    site = Policy(Rule("1/minute", name="r"), store=store, **option)
    answers = [site.check(request()) for _ in range(5)]
    assert [answer.status for answer in answers] == [0, 429, 429, 429, 429]
    assert store.asked == asked
    assert {dict(answer.headers)["RateLimit"] for answer in answers[1:]} <= {'"r";r=0;t=60', '"r";r=0;t=59'}


def test_the_environments_store_wins_over_a_url_and_not_over_a_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RATELIMIT_KIT_STORE", "memory://")
    assert isinstance(Policy(Rule("1/minute"), store="redis://127.0.0.1:1").store, MemoryStore)
    own = Counted()
    assert Policy(Rule("1/minute"), store=own).store is own


@pytest.mark.parametrize("mode", ["shadow", "off"])
def test_a_mode_that_refuses_nobody_is_told_at_start(mode: Any, caplog: pytest.LogCaptureFixture) -> None:
    policy(Rule("1/minute"), mode=mode).start()
    assert f"mode='{mode}': no request is refused" in caplog.text
    assert "[RLK256]" in caplog.text
