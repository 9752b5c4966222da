"""A policy and a decorator with one name charge a request once, and never less than is enforced."""

from __future__ import annotations

from typing import Any

import pytest

from ratelimit_kit import Policy, Rule
from tests import integrations
from tests.integrations import DECORATORS


def passed(name: str, rule: Rule, number: int = 8, **decorated: Any) -> int:
    options = {"key": "ip", "name": "login", **decorated}
    with integrations.site(name, rule, decorate=DECORATORS[name]("3/minute", **options)) as site:
        site.statuses(number, method="POST")
        return len(site.ran)


@pytest.mark.parametrize("name", DECORATORS)
def test_one_counter_is_charged_once(name: str) -> None:
    assert passed(name, Rule("3/minute", name="login")) == 3


@pytest.mark.parametrize("name", DECORATORS)
def test_a_rule_that_only_looks_changes_nothing(name: str) -> None:
    assert passed(name, Rule("3/minute", name="login", shadow=True)) == 3
    assert passed(name, Rule("3/minute", name="login"), shadow=True) == 3


@pytest.mark.parametrize("name", DECORATORS)
def test_what_may_be_given_back_has_not_paid_for_what_counts_always(name: str) -> None:
    """Until it is refunded, it takes the place of another request."""
    assert passed(name, Rule("3/minute", name="login", count="failures")) in {2, 3}
    assert passed(name, Rule("3/minute", name="login", count="failures", shadow=True)) in {2, 3}
    assert passed(name, Rule("3/minute", name="login", count=[403]), count=[403]) == 8


@pytest.mark.parametrize("name", DECORATORS)
def test_failures_that_both_count_are_counted_once(name: str) -> None:
    assert passed(name, Rule("3/minute", name="login", count=[200]), count=[200]) == 3


@pytest.mark.parametrize("name", DECORATORS)
def test_a_higher_cost_is_paid_in_full(name: str) -> None:
    assert passed(name, Rule("3/minute", name="login"), cost=3) == 1
    assert passed(name, Rule("3/minute", name="login", cost=3)) == 1


@pytest.mark.parametrize("name", DECORATORS)
def test_an_exempt_path_frees_the_policys_rules_and_no_decorator(name: str) -> None:
    rules = [Rule("2/minute", name="site")]
    decorate = DECORATORS[name]("3/minute", name="login")
    with integrations.site(name, *rules, decorate=decorate, exempt=["/login"]) as site:
        assert site.statuses(4) == [200, 200, 200, 429]
    with integrations.site(name, *rules, decorate=decorate, exempt=lambda request: request.method == "GET") as site:
        assert site.statuses(4) == [200] * 4
        assert site.statuses(3, method="POST") == [200, 200, 429]


def test_an_outage_has_paid_for_nothing() -> None:
    from ratelimit_kit.errors import StoreUnavailableError
    from tests.web.identity.test_address import request
    from tests.web.policy.test_policy import BrokenStore

    site = Policy(Rule("3/minute", name="login"), store=BrokenStore(), workers=1, start_without_store=True)
    asked = request()
    assert not site.check(asked).denied
    deny = site.bind(Rule("3/minute", name="login", on_outage="deny"), "login")
    assert site.check(asked, [deny]).status == 503
    strict = site.bind(Rule("3/minute", name="login", on_outage="raise"), "login")
    with pytest.raises(StoreUnavailableError):
        site.check(asked, [strict])
