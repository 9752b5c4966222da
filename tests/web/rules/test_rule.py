"""What a rule's options do: conditions, costs, tiers, shadow, and which responses count."""

from __future__ import annotations

import copy
import logging
import re
from typing import Any

import pytest

from ratelimit_kit import UNLIMITED, MemoryStore, Policy, QuotaError, Rule, SlidingWindow
from ratelimit_kit.core.events import Decided
from ratelimit_kit.errors import IdentityError, OptionError, StoreUnavailableError
from ratelimit_kit.testing import ManualClock
from ratelimit_kit.web.http.messages import Request, Response
from tests.web.identity.test_address import request
from tests.web.policy.test_policy import BrokenStore, fields, policy

PREFLIGHT = {"origin": "https://example.org", "access-control-request-method": "POST"}


def statuses(site: Policy, *requests: Request) -> list[int]:
    return [site.check(one).status for one in requests]


def test_exempt_requests_are_left_alone() -> None:
    by_path = policy(Rule("1/minute", exempt=["/free", re.compile(r"^/static/")]))
    assert statuses(by_path, *(request(path=path) for path in ("/free", "/static/a.css", "/free", "/", "/"))) == [
        0,
        0,
        0,
        0,
        429,
    ]
    by_callable = policy(Rule("1/minute", exempt=lambda one: one.headers.get("x-staff") == "yes"))
    assert statuses(by_callable, request(), request(fields={"x-staff": "yes"}), request()) == [0, 0, 429]
    whole = policy(Rule("1/minute"), exempt=lambda one: one.path == "/free")
    assert statuses(whole, request(), request(path="/free"), request()) == [0, 0, 429]


def test_preflights_have_a_budget_of_their_own_unless_a_rule_names_options() -> None:
    usual = policy(Rule("2/minute"))
    preflights = [request(method="OPTIONS", fields=PREFLIGHT) for _ in range(3)]
    assert statuses(usual, *preflights, request(), request(), request()) == [0, 0, 429, 0, 0, 429]
    capped = policy(Rule("2/minute", methods=["OPTIONS"], name="preflights"))
    assert statuses(capped, *preflights) == [0, 0, 429]


def test_limits_may_depend_on_the_request() -> None:
    def plan(one: Request) -> Any:
        return {"gold": "3/minute", "both": ["1/minute", SlidingWindow(2, per=3600)]}.get(
            one.headers.get("x-plan", ""), "1/minute"
        )

    site = policy(Rule(plan, key="header:x-plan", name="tier"))
    gold = [request(fields={"x-plan": "gold"}) for _ in range(4)]
    assert statuses(site, *gold) == [0, 0, 0, 429]
    assert statuses(site, request(), request()) == [0, 429]
    both = dict(fields(site.check(request(fields={"x-plan": "both"}))))
    assert both["RateLimit-Policy"] == '"tier-minute";q=1;w=60, "tier-hour";q=2;w=3600'


@pytest.mark.parametrize("value", [5, [], [None], ["5/minute", None], "100/mnth", {"a": 1}])
def test_a_callable_that_returns_no_limits_is_an_error_and_never_no_limit(value: Any) -> None:
    with pytest.raises(QuotaError, match="or UNLIMITED"):
        policy(Rule(lambda _: value)).check(request())


@pytest.mark.parametrize("value", [None, UNLIMITED, "unlimited", [UNLIMITED, "unlimited"]])
def test_a_client_without_limits_is_not_charged_and_gets_no_fields(value: Any) -> None:
    store = MemoryStore()
    site = Policy(Rule(lambda _: value, name="plan"), store=store, workers=1)
    assert [site.check(request()).denied for _ in range(3)] == [False] * 3
    assert dict(fields(site.check(request()))) == {}
    assert len(store) == 0
    beside = Policy(Rule(lambda _: value, name="plan"), Rule("2/minute", name="site"), store=MemoryStore(), workers=1)
    assert statuses(beside, *[request() for _ in range(3)]) == [0, 0, 429]


@pytest.mark.parametrize("limit", ["0/minute", "token-bucket: 0/minute", "fixed-window: 0/day"])
@pytest.mark.parametrize("headers", ["draft11", "draft6", "x-ratelimit", "none"])
def test_a_limit_of_zero_refuses_always_and_promises_nothing(limit: str, headers: str) -> None:
    site = policy(Rule(limit, name="closed"), headers=headers)
    for _ in range(2):
        refused = site.check(request())
        assert refused.status == 429
        assert "Retry-After" not in dict(refused.headers)
    if headers == "draft11":
        assert '"closed";q=0;w=' in dict(refused.headers)["RateLimit-Policy"]


def test_a_changed_number_goes_on_from_what_was_counted() -> None:
    store = MemoryStore()
    for inherit, expected in ((True, [0, 0, 0, 429]), (False, [0, 0, 0, 0])):
        old = Policy(Rule("3/minute", name="login", inherit=inherit), store=store, workers=1, name=f"site-{inherit}")
        new = Policy(Rule("2/minute", name="login", inherit=inherit), store=store, workers=1, name=f"site-{inherit}")
        assert statuses(old, *[request() for _ in range(3)]) + statuses(new, request()) == expected


def test_a_callable_stands_for_all_limits() -> None:
    with pytest.raises(OptionError, match="replaces all limits"):
        Rule(lambda _: "1/minute", "2/hour")


async def test_callables_may_be_asynchronous_in_asynchronous_integrations() -> None:
    async def yes(_: Request) -> bool:
        return True

    async def two(_: Request) -> int:
        return 2

    async def five(_: Request) -> str:
        return "5/minute"

    site = policy(Rule(five, when=yes, cost=two, name="r"))
    assert dict(await (await site.acheck(request())).afinish(Response(200, {})))["RateLimit"] == '"r";r=3;t=36'
    for option in ({"when": yes}, {"exempt": yes}, {"cost": two}):
        with pytest.raises(IdentityError, match="asynchronous, but this integration is synchronous"):
            policy(Rule("5/minute", **option)).check(request())
    with pytest.raises(IdentityError, match="this integration is synchronous"):
        policy(Rule(five)).check(request())


@pytest.mark.parametrize(
    ("count", "counted"),
    [
        ("all", [200, 302, 401, 500]),
        ("failures", [401, 500]),
        ("successes", [200, 302]),
        ([401, 403], [401]),
        (lambda response: response.status == 302, [302]),
        (lambda response: response.headers.get("x-login") == "failed", [401]),
    ],
)
async def test_only_responses_that_count_are_counted(count: Any, counted: list[int]) -> None:
    for asynchronous in (False, True):
        site = policy(Rule("10/minute", count=count, name="r"))
        left = 10
        for status in (200, 302, 401, 500):
            seen = Response(status, {"x-login": "failed"} if status == 401 else {})
            if asynchronous:
                sent = dict(await (await site.acheck(request())).afinish(seen))
            else:
                sent = dict(site.check(request()).finish(seen))
            left -= status in counted
            if status != 302:
                assert f'"r";r={left};' in sent["RateLimit"]
        assert dict(fields(site.check(request(path="/other"))))["RateLimit"].startswith(
            f'"r";r={left - 1 + (200 not in counted)}'
        )


def test_failures_are_reserved_so_that_many_at_once_cannot_pass() -> None:
    site = policy(Rule("3/minute", count="failures"))
    answers = [site.check(request()) for _ in range(5)]
    assert [answer.status for answer in answers] == [0, 0, 0, 429, 429]
    for answer in answers[:2]:
        answer.finish(Response(200, {}))
    answers[2].finish(Response(401, {}))
    assert statuses(site, request(), request(), request()) == [0, 0, 429]


def test_an_application_that_raises_has_failed() -> None:
    for count, left in (("failures", 2), ("successes", 3)):
        site = policy(Rule("3/minute", count=count, name="r"))
        site.check(request()).fail()
        assert (
            f"r={left - 1};"
            in dict(site.check(request()).finish(Response(418 if count == "failures" else 200, {})))["RateLimit"]
        )


def test_exactly_the_hit_that_does_not_count_is_given_back() -> None:
    clock = ManualClock()
    site = policy(Rule("3/minute", count="failures", name="r"), store=MemoryStore(clock=clock))
    site.check(request()).finish(Response(401, {}))
    clock.advance(50)
    site.check(request()).finish(Response(200, {}))
    clock.advance(10)
    assert '"r";r=2;' in dict(site.check(request()).finish(Response(401, {})))["RateLimit"]


@pytest.mark.parametrize(("method", "meant"), [("PSOT", "POST"), ("pots", "POST"), ("DELTE", "DELETE")])
def test_a_misspelt_method_is_an_error(method: str, meant: str) -> None:
    with pytest.raises(OptionError, match=f"did you mean '{meant}'"):
        Rule("5/minute", methods=[method])
    assert Rule("5/minute", methods=["PROPFIND", "purge"])


@pytest.mark.parametrize("count", ["failure", [], [99], ["401"], None, 5])
def test_a_count_that_is_none_is_an_error(count: Any) -> None:
    with pytest.raises(OptionError, match="count="):
        Rule("5/minute", count=count)


def test_a_shadow_rule_counts_and_tells_and_refuses_nobody(caplog: pytest.LogCaptureFixture) -> None:
    site = policy(Rule("5/minute", name="real"), Rule("1/minute", name="trial", shadow=True))
    assert statuses(site, request(), request(), request()) == [0, 0, 0]
    assert caplog.messages == ["shadow: rule 'trial' would have refused a request (1/minute)"]
    assert dict(fields(site.check(request())))["RateLimit"].startswith('"real";r=1;')
    assert statuses(site, request(), request()) == [0, 429]


def test_a_shadow_rule_changes_nothing_for_the_others_and_follows_their_refusals() -> None:
    heard = Heard()
    site = policy(Rule("1/minute", name="real"), Rule("2/minute", name="trial", shadow=True), observer=heard)
    assert statuses(site, request(), request(), request()) == [0, 429, 429]
    assert [(one.rule, one.outcome) for one in heard.decided] == [
        ("real", "allowed"),
        ("trial", "allowed"),
        ("real", "denied"),
        ("real", "denied"),
    ]


def test_a_shadow_rule_does_not_refuse_in_an_outage_either() -> None:
    assert statuses(policy(Rule("1/minute", shadow=True, on_outage="deny"), store=BrokenStore()), request()) == [0]


@pytest.mark.parametrize(("mode", "expected"), [("enforce", [0, 429]), ("shadow", [0, 0]), ("off", [0, 0])])
def test_the_mode_is_the_switch_for_a_rollback(mode: Any, expected: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    store = MemoryStore(clock=ManualClock())
    site = policy(Rule("1/minute"), mode=mode, store=store)
    assert (site.mode, statuses(site, request(), request())) == (mode, expected)
    assert len(store) == (mode != "off")
    monkeypatch.setenv("RATELIMIT_KIT_MODE", mode)
    assert statuses(policy(Rule("1/minute")), request(), request()) == expected
    monkeypatch.setenv("RATELIMIT_KIT_MODE", "of")
    with pytest.raises(OptionError, match=r"RATELIMIT_KIT_MODE='of' is not a mode; did you mean 'off'"):
        policy(Rule("1/minute"))


class Heard:
    """An observer of decisions."""

    def __init__(self) -> None:
        self.decided: list[Decided] = []

    def on_event(self, event: Any) -> None:
        pass

    def on_decision(self, decided: Decided) -> None:
        self.decided.append(decided)


def test_observers_hear_of_every_decision() -> None:
    heard = Heard()
    site = policy(Rule("10/minute", name="a"), Rule("1/minute", name="b", paths=["/b"]), observer=heard, name="shop")
    statuses(site, request(), request(path="/b"), request(path="/b"))
    assert [(one.policy, one.rule, one.outcome, one.near) for one in heard.decided] == [
        ("shop", "a", "allowed", False),
        ("shop", "a", "allowed", False),
        ("shop", "b", "allowed", True),
        ("shop", "a", "allowed", False),
        ("shop", "b", "denied", True),
    ]
    assert {one.store for one in heard.decided} == {"MemoryStore"}
    timed = [one.seconds is not None for one in heard.decided]
    assert timed == [True, True, False, True, False]  # one call to the store each
    outage = Heard()
    statuses(policy(Rule("1/minute"), store=BrokenStore(), observer=outage), request())
    assert [(one.outcome, one.degraded) for one in outage.decided] == [("allowed", True)]


def test_an_observer_that_raises_fails_no_request(caplog: pytest.LogCaptureFixture) -> None:
    class Faulty(Heard):
        def on_decision(self, decided: Decided) -> None:
            raise KeyError("mine")

    assert statuses(policy(Rule("1/minute"), observer=[Faulty(), heard := Heard()]), request(), request()) == [0, 429]
    assert len(heard.decided) == 2
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


def test_what_is_no_observer_is_an_error() -> None:
    with pytest.raises(OptionError, match=r"has no method on_event"):
        policy(Rule("1/minute"), observer=print)


def test_a_request_is_charged_once_under_one_counter() -> None:
    site = policy(Rule("5/minute", name="login"))
    same = site.bind(Rule("5/minute", name="login"), "login")
    other = site.bind(Rule("5/minute"), "other")
    one = request()
    assert '"login";r=4;' in dict(fields(site.check(one)))["RateLimit"]
    assert not site.check(one, [same]).touches
    assert dict(fields(site.check(one, [same, other])))["RateLimit"].startswith('"other";r=4;')
    assert '"login";r=3;' in dict(fields(site.check(request())))["RateLimit"]


def test_a_proxy_that_nobody_trusts_is_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    site = policy(Rule("50/minute"))
    for _ in range(3):
        site.check(request(peer="10.0.0.7", fields={"x-forwarded-for": "203.0.113.9"}))
    assert len(caplog.messages) == 1
    assert 'trusted_proxies=["10.0.0.7"]' in caplog.text
    assert "[RLK255]" in caplog.text


@pytest.mark.parametrize(
    ("peer", "options"),
    [("198.41.0.4", {}), ("10.0.0.7", {"trusted_proxies": ["10.0.0.0/8"]})],
    ids=["public", "trusted"],
)
def test_no_proxy_is_suspected_where_there_is_none(peer: str, options: Any, caplog: pytest.LogCaptureFixture) -> None:
    policy(Rule("50/minute"), **options).check(request(peer=peer, fields={"x-forwarded-for": "203.0.113.9"}))
    assert caplog.messages == []


def test_a_refund_in_an_outage_leaves_the_hit_counted(caplog: pytest.LogCaptureFixture) -> None:
    class Forgetful(MemoryStore):
        def refund(self, charges: Any, stamp: Any = None) -> None:
            raise StoreUnavailableError("the server is gone")

    site = policy(Rule("1/minute", count="failures"), store=Forgetful())
    site.check(request()).finish(Response(200, {}))
    assert statuses(site, request()) == [429]
    assert "stays counted" in caplog.text


@pytest.mark.parametrize(
    ("make", "hint"),
    [
        (lambda wrong: Rule("5/minute", key=wrong), "key=.* called with one argument, the request"),
        (lambda wrong: Rule("5/minute", key=["ip", wrong]), "key=.* the request"),
        (Rule, "limits=.* the request"),
        (lambda wrong: Rule("5/minute", when=wrong), "when=.* the request"),
        (lambda wrong: Rule("5/minute", exempt=wrong), "exempt=.* the request"),
        (lambda wrong: Rule("5/minute", cost=wrong), "cost=.* the request"),
        (lambda wrong: Rule("5/minute", count=wrong), "count=.* the response"),
        (lambda wrong: Policy(Rule("5/minute"), exempt=wrong), "exempt=.* the request"),
        (lambda wrong: Policy(Rule("5/minute"), denial=wrong), "denial=.* the denial"),
    ],
)
@pytest.mark.parametrize("wrong", [lambda: "x", lambda one, two: "x"], ids=["none", "two"])
def test_a_callable_that_cannot_be_called_is_refused_when_it_is_given(make: Any, hint: str, wrong: Any) -> None:
    with pytest.raises(OptionError, match=hint):
        make(wrong)


def test_a_request_and_a_response_can_be_copied() -> None:
    asked, answered = request(), Response(200, {})
    assert copy.copy(asked).path == asked.path
    assert copy.copy(answered).status == 200


def test_a_callable_may_have_more_parameters_with_defaults() -> None:
    Rule("5/minute", key=lambda request, more="x": more, cost=max)


async def test_a_rule_of_ones_own_that_matches_in_its_own_way_is_asked() -> None:
    class Odd(Rule):
        """Every other request."""

        asked = 0

        def matches(self, request: Request) -> bool:
            self.asked += 1
            return bool(self.asked % 2) and super().matches(request)

    both = Policy(Odd("1/minute", paths=["/"], name="a"), Rule("9/minute", name="b"), store=MemoryStore(), workers=1)
    assert [both.check(request()).denied for _ in range(4)] == [False, False, True, False]


def test_rules_of_one_name_with_different_numbers_both_hold() -> None:
    """As throttles of one scope may have them, or a decorator and the policy around it."""
    site = Policy(Rule("9/minute", name="login"), store=MemoryStore(), workers=1)
    throttles = [site.bind(Rule("5/minute"), "login"), site.bind(Rule("2/minute"), "login")]
    assert [site.check(request(), throttles).denied for _ in range(3)] == [False, False, True]
    site = Policy(Rule("4/minute", name="login"), store=MemoryStore(), workers=1)
    decorator = site.bind(Rule("2/minute"), "login")
    found = []
    for _ in range(5):
        asked = request()
        found.append((site.check(asked).denied, site.check(asked, [decorator]).denied))
    assert [outer for outer, _ in found] == [False] * 4 + [True]
    assert [inner for _, inner in found[:4]] == [False, False, True, True]
