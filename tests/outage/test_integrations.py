"""Every integration during an outage: what a visitor gets, by each word of `on_outage`."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.test import override_settings

from ratelimit_kit import Policy, Rule
from ratelimit_kit.wsgi import RateLimitMiddleware
from tests.integrations import DECORATORS, WAYS, Site, limited, site
from tests.outage.flaky import ALIVE, DOWN, FULL, Flaky, Forward
from tests.test_wsgi import call, hello
from tests.web.identity.test_address import request

AWAY: dict[str, Any] = {"start_without_store": True}


@contextmanager
def away(way: str, store: Flaky, error: Any, limit: str, **options: Any) -> Iterator[Site]:
    """A site whose store fails after the start, which some integrations postpone until the first request."""
    store.error = None
    with pytest.MonkeyPatch.context() as patch, limited_on(patch, store, way, limit, **options) as found:
        found.ask(address="203.0.113.200")
        found.ran.clear()
        store.error = error
        yield found


def limited_on(patch: pytest.MonkeyPatch, store: Flaky, way: str, limit: str, **options: Any) -> Any:
    patch.setattr("tests.integrations.MemoryStore", lambda **_: store)
    return limited(way, limit, name=next(names), **options)


names = (f"page-{number}" for number in itertools.count())


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("options", "statuses"),
    [
        ({}, [200, 200, 429, 429]),
        ({"on_outage": "local", "fallback": ["1/minute"]}, [200, 429, 429, 429]),
        ({"on_outage": "local-share"}, [200, 429, 429, 429]),
        ({"on_outage": "deny"}, [503] * 4),
        ({"on_outage": "allow"}, [200] * 4),
    ],
    ids=["default", "fallback", "local-share", "deny", "allow"],
)
def test_the_answers_during_an_outage(
    way: str, store: Flaky, options: Any, statuses: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RATELIMIT_KIT_WORKERS", "2")
    with away(way, store, DOWN, "2/minute", **options) as found:
        answers = [found.ask() for _ in range(4)]
    assert [answer.status for answer in answers] == statuses
    for answer in answers:
        assert not any(name.startswith("ratelimit") for name in answer.fields)
        assert ("retry-after" in answer.fields) == (answer.status != 200)
        if answer.status == 503:
            assert answer.fields["retry-after"] == "1"
    assert len(found.ran) == statuses.count(200)


@pytest.mark.parametrize("error", ALIVE, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("way", WAYS)
def test_a_store_that_is_alive_never_fails_open(way: str, store: Flaky, error: Any) -> None:
    for word, statuses in (("allow", [503] * 3), ("deny", [503] * 3), ("local", [200, 429, 429])):
        with away(way, store, error, "1/minute", on_outage=word) as found:
            assert found.statuses(3) == statuses, word


@pytest.mark.parametrize("way", WAYS)
def test_what_does_not_count_is_given_back_to_the_local_counters(way: str, store: Flaky) -> None:
    for count, statuses in (("failures", [200] * 6), ("successes", [200, 200] + [429] * 4)):
        with away(way, store, DOWN, "2/minute", count=count) as found:
            assert found.statuses(6) == statuses


@pytest.mark.parametrize("name", ["flask", "django", "fastapi"])
def test_a_page_with_a_rule_and_a_decorator_of_one_name_is_charged_once(name: str, store: Flaky) -> None:
    page = next(names)
    decorate = DECORATORS[name]("3/minute", name=page)
    with site(name, Rule("3/minute", name=page), decorate=decorate, store=store, **AWAY) as found:
        found.ask(address="203.0.113.200")
        store.error = DOWN
        assert found.statuses(5) == [200, 200, 200, 429, 429]


def test_throttles_fail_local_too(store: Flaky) -> None:
    from ratelimit_kit.django.site import site_policy
    from tests.django.test_drf import Burst, ask, view

    limited_view = view(Burst)
    with override_settings(RATELIMIT_KIT={"rules": [], "store": store}):
        site_policy.cache_clear()
        store.error = DOWN
        answers = [ask(limited_view) for _ in range(8)]
    site_policy.cache_clear()
    assert {answer.status_code for answer in answers} == {200, 429}
    assert answers[-1].status_code == 429
    assert 1 <= int(answers[-1]["Retry-After"]) <= 60
    assert not any(answer.has_header("RateLimit") for answer in answers)


def test_a_local_denial_is_429_and_an_outage_that_denies_503(store: Flaky) -> None:
    store.error = DOWN
    local = RateLimitMiddleware(hello, Policy(Rule("1/minute"), store=store, **AWAY))
    assert [call(local)[0][:3] for _ in range(2)] == ["200", "429"]
    assert local.policy.health().status == "warn"  # the store replies to a ping, but decisions were made without it
    deny = RateLimitMiddleware(hello, Policy(Rule("1/minute"), store=store, on_outage="deny", **AWAY))
    assert call(deny)[0][:3] == "503"


@pytest.mark.parametrize(
    ("rules", "status"),
    [
        (["allow", "local"], "429"),
        (["allow", "local-share"], "429"),
        (["local", "deny"], "503"),
        (["local-share", "deny"], "503"),
        (["allow", "allow"], "200"),
        ([None, "allow"], "429"),
    ],
)
def test_the_strictest_policy_of_the_rules_answers(store: Flaky, rules: list[Any], status: str) -> None:
    policy = Policy(
        *(Rule(f"{n}/minute", on_outage=word) for n, word in enumerate(rules, start=1)), store=store, **AWAY
    )
    application = RateLimitMiddleware(hello, policy)
    store.error = DOWN
    call(application)
    assert call(application)[0][:3] == status


def test_rules_decided_together_keep_their_own_fallbacks(store: Flaky) -> None:
    site = Policy(
        Rule("100/minute", key="global", name="site", fallback=["3/minute"]),
        Rule("100/minute", key="ip", name="client", fallback=["2/minute"]),
        store=store,
        **AWAY,
    )
    store.error = DOWN
    statuses = [
        site.check(request(peer=address)).status for address in ("203.0.113.1", "203.0.113.2") for _ in range(4)
    ]
    assert statuses == [0, 0, 429, 429, 0, 429, 429, 429]


def test_a_detail_says_how_long_to_wait_and_names_no_limit(store: Flaky) -> None:
    site = Policy(Rule("1/minute", name="login"), store=store, **AWAY)
    store.error = DOWN
    site.check(request())
    refused = site.check(request())
    body = json.loads(refused.body)
    assert refused.status == 429
    assert body["detail"].startswith("Try again in ")
    assert "violated-policies" not in body


def test_a_refused_shadow_rule_gives_nothing_back(store: Flaky) -> None:
    site = Policy(
        Rule("2/minute", name="seen", shadow=True, count="failures", key="global"),
        Rule("1/minute", name="other", shadow=True),
        store=store,
        **AWAY,
    )
    assert [len(site.check(request()).pending) for _ in range(3)] == [1, 0, 0]


@pytest.mark.parametrize("error", [DOWN, FULL])
def test_the_log_says_what_happens_meanwhile(
    store: Flaky, wait: Forward, error: Any, caplog: pytest.LogCaptureFixture
) -> None:
    site = Policy(Rule("5/minute"), store=store, **AWAY)
    store.error = error
    for _ in range(20):
        site.check(request())
    (record,) = caplog.records
    assert "each process applies the full limits on its own" in record.getMessage()
