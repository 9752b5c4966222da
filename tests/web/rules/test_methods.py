"""Methods: in any case, HEAD together with GET, and preflights with a budget of their own, in every integration."""

from __future__ import annotations

from typing import Any

import pytest

from ratelimit_kit import Policy, Rule
from ratelimit_kit.errors import OptionError
from tests import integrations
from tests.integrations import DECORATORS, WAYS, limited
from tests.web.identity.test_address import request

PREFLIGHT = [("Origin", "https://example.org"), ("Access-Control-Request-Method", "POST")]

ROUTED_BY_CASE = {"fastapi decorator"}
"""Starlette responds to `head` with 405, before any decorator is called."""


@pytest.mark.parametrize("way", WAYS)
def test_a_method_is_the_same_however_it_is_spelt(way: str) -> None:
    with limited(way, "2/minute", methods=["post"], name="login") as site:
        for method in ("POST", "post", "Post", "pOST"):
            site.ask(method=method)
        assert len(site.ran) <= 2
        assert site.ask(method="GET").status == 200


@pytest.mark.parametrize("way", WAYS)
def test_get_includes_head(way: str) -> None:
    with limited(way, "2/minute", methods=["GET"], name="page") as site:
        answers = [site.ask(method=method).status for method in ("HEAD", "GET", "HEAD", "head", "GET")]
        assert answers[2:] == [429, 405 if way in ROUTED_BY_CASE else 429, 429]
        assert len(site.ran) == 2
        assert site.ask(method="POST").status == 200


@pytest.mark.parametrize("name", integrations.MAKERS)
def test_unless_a_rule_of_the_policy_names_head(name: str) -> None:
    rules = [Rule("1/minute", methods=["GET"], name="page"), Rule("3/minute", methods=["HEAD"], name="head")]
    with integrations.site(name, *rules) as site:
        assert site.statuses(4, method="HEAD") == [200, 200, 200, 429]
        assert site.statuses(2, method="GET") == [200, 429]


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("name", DECORATORS)
def test_unless_a_decorator_of_the_view_names_head(name: str, order: int) -> None:
    ratelimit = DECORATORS[name]
    both = [ratelimit("1/minute", methods=["GET"]), ratelimit("3/minute", methods=["HEAD"])][::order]
    with integrations.site(name, decorate=lambda view: both[0](both[1](view))) as site:
        assert site.statuses(4, method="HEAD") == [200, 200, 200, 429]
        assert site.statuses(2, method="GET") == [200, 429]


@pytest.mark.parametrize(
    "other",
    [
        Rule("9/minute", methods=["HEAD"], name="head", shadow=True),
        Rule("9/minute", methods=["HEAD"], name="head", paths=["/elsewhere"]),
        Rule("9/minute", methods=["HEAD"], name="head", when=lambda _: False),
    ],
    ids=["only looks", "other path", "other condition"],
)
def test_a_rule_for_head_that_does_not_enforce_here_frees_nothing(other: Rule) -> None:
    with integrations.site("wsgi", Rule("2/minute", methods=["GET"], name="page"), other) as site:
        assert site.statuses(3, method="HEAD") == [200, 200, 429]


@pytest.mark.parametrize("name", DECORATORS)
def test_a_rule_of_the_policy_for_head_stands_for_decorators_too(name: str) -> None:
    decorate = DECORATORS[name]("1/minute", methods=["GET"])
    with integrations.site(name, Rule("3/minute", methods=["HEAD"], name="head"), decorate=decorate) as site:
        assert site.statuses(4, method="HEAD") == [200, 200, 200, 429]


@pytest.mark.parametrize("way", WAYS)
def test_preflights_have_a_budget_of_their_own(way: str) -> None:
    with limited(way, "2/minute", key="global", name="login") as site:
        answers = [site.ask(method="OPTIONS", fields=PREFLIGHT) for _ in range(4)]
        assert [answer.status for answer in answers] == [200, 200, 429, 429]
        assert site.ran == ["OPTIONS"] * 2
        assert not any("ratelimit" in answer.fields and '"login"' in answer.fields["ratelimit"] for answer in answers)
        assert int(answers[2].fields["retry-after"]) >= 1
        assert site.ask(method="options", fields=PREFLIGHT).status == (405 if way in ROUTED_BY_CASE else 429)
        assert site.ask(method="OPTIONS", fields=PREFLIGHT, address="203.0.113.10").status == 200
        assert site.statuses(3, method="GET") == [200, 200, 429]


@pytest.mark.parametrize("way", WAYS)
def test_a_rule_that_names_options_counts_preflights_as_every_request(way: str) -> None:
    with limited(way, "2/minute", methods=["OPTIONS", "GET"], name="login") as site:
        assert site.ask(method="GET").status == 200
        assert [site.ask(method="OPTIONS", fields=PREFLIGHT).status for _ in range(2)] == [200, 429]


@pytest.mark.parametrize("way", WAYS)
def test_a_rule_for_another_method_leaves_preflights_alone(way: str) -> None:
    with limited(way, "1/minute", methods=["POST"], name="login") as site:
        assert [site.ask(method="OPTIONS", fields=PREFLIGHT).status for _ in range(3)] == [200] * 3


def test_a_preflight_costs_one_unit_of_the_same_limits_and_asks_no_key() -> None:
    def never(_: Any) -> Any:
        raise AssertionError

    site = Policy(
        Rule(
            lambda one: "3/minute" if one.method == "OPTIONS" else "1/minute",
            key=never,
            cost=never,
            count=never,
            name="r",
        ),
        store="memory://",
        workers=1,
    )
    fields = {name.lower(): value for name, value in PREFLIGHT}
    answers = [site.check(request(method="OPTIONS", fields=fields)) for _ in range(4)]
    assert [answer.status for answer in answers] == [0, 0, 0, 429]
    assert not any(answer.pending for answer in answers)


def test_a_shadow_rule_refuses_no_preflight() -> None:
    with integrations.site("wsgi", Rule("1/minute", shadow=True, name="seen")) as site:
        assert [site.ask(method="OPTIONS", fields=PREFLIGHT).status for _ in range(3)] == [200] * 3


def test_no_other_rule_may_have_the_name_of_the_counter_of_preflights() -> None:
    with pytest.raises(OptionError, match="'login-preflight'"):
        Policy(Rule("1/minute", name="login"), Rule("1/minute", name="login-preflight"))
