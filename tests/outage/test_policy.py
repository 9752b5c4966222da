"""`on_outage` and `fallback`: which words there are, how strict they are, and what contradicts what."""

from __future__ import annotations

from itertools import combinations_with_replacement
from typing import Any, get_args

import pytest

from ratelimit_kit import UNLIMITED, Limiter, Policy, Rule, SlidingWindow, ratelimit
from ratelimit_kit.errors import OptionError, QuotaError
from ratelimit_kit.outage import LOCAL, Meanwhile, OnOutage, meanwhile, strictest
from ratelimit_kit.outage.policy import fallback_limits

WORDS: tuple[OnOutage, ...] = get_args(OnOutage)
STRICT = (SlidingWindow(1, 60),)

MAKERS = [
    lambda **options: Limiter("5/minute", **options),
    lambda **options: ratelimit("5/minute", **options)(print),
    lambda **options: Policy(Rule("5/minute"), workers=1, **options),
    lambda **options: Rule("5/minute", **options),
    lambda **options: Policy.from_config({"rules": [{"limits": "5/minute"}], "workers": 1, **options}),
    lambda **options: Policy.from_config({"rules": [{"limits": "5/minute", **options}], "workers": 1}),
]
NAMES = ["limiter", "function", "policy", "rule", "config", "config of a rule"]


@pytest.mark.parametrize("make", MAKERS, ids=NAMES)
def test_every_word_is_known_and_another_is_corrected(make: Any) -> None:
    for word in WORDS:
        make(on_outage=word)
    with pytest.raises(OptionError, match="did you mean 'local-share'"):
        make(on_outage="local-shares")
    with pytest.raises(OptionError, match="did you mean 'local'"):
        make(on_outage="locl")


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("open", "did you mean 'allow'"),
        ("fail-open", "did you mean 'allow'"),
        ("closed", "did you mean 'deny'"),
        ("fail_closed", "did you mean 'deny'"),
        ("block", "did you mean 'deny'"),
        (False, "choose from 'allow', 'deny'"),
    ],
)
def test_what_others_call_it_is_understood(word: Any, meant: str) -> None:
    for make in MAKERS:
        with pytest.raises(OptionError, match=meant):
            make(on_outage=word)


@pytest.mark.parametrize(
    ("option", "meant"),
    [
        ("fail_open", 'did you mean on_outage="allow"'),
        ("fail_closed", 'did you mean on_outage="deny"'),
        ("swallow_errors", 'did you mean on_outage="allow"'),
        ("in_memory_fallback", "did you mean fallback="),
    ],
)
@pytest.mark.parametrize("make", MAKERS, ids=NAMES)
def test_options_of_other_libraries_are_understood(make: Any, option: str, meant: str) -> None:
    with pytest.raises(OptionError, match=meant):
        make(**{option: True})


def test_an_error_in_a_file_of_many_rules_names_the_rule() -> None:
    good = {"limits": "5/minute"}
    for wrong in ({"fallback": "2/minut"}, {"on_outage": "locl"}, {"on_outage": "deny", "fallback": "1/minute"}):
        with pytest.raises((OptionError, QuotaError), match=r"rule 2 \('login'\): "):
            Policy.from_config({"rules": [good, {**good, "name": "login", **wrong}], "workers": 1})


@pytest.mark.parametrize("make", MAKERS, ids=NAMES)
def test_a_fallback_needs_local_counters(make: Any) -> None:
    for word in ("local", "local-share"):
        make(on_outage=word, fallback=["1/minute"])
    for word in ("raise", "deny", "allow"):
        with pytest.raises(OptionError, match=f"on_outage='{word}'.* counts nothing.*RLK103"):
            make(on_outage=word, fallback=["1/minute"])


@pytest.mark.parametrize("make", [*MAKERS[:2]], ids=NAMES[:2])
def test_a_limiter_raises_unless_it_is_told_otherwise(make: Any) -> None:
    with pytest.raises(OptionError, match=r"on_outage='raise' \(the default\) counts nothing"):
        make(fallback=["1/minute"])


def test_a_policy_fails_local_unless_it_is_told_otherwise() -> None:
    assert Policy(Rule("5/minute"), workers=1).outcomes.default == LOCAL
    assert Policy(Rule("5/minute"), workers=1, fallback=["1/minute"]).outcomes.default == Meanwhile("local", STRICT)


@pytest.mark.parametrize("bind", [False, True], ids=["rule", "decorator"])
def test_the_fallback_of_a_rule_must_fit_its_policy(bind: bool) -> None:
    rule = Rule("5/minute", fallback=["1/minute"])
    policy = Policy(Rule("7/minute"), on_outage="deny", workers=1)
    make = (lambda: policy.bind(rule, "page")) if bind else (lambda: Policy(rule, on_outage="deny", workers=1))
    with pytest.raises(OptionError, match=r"rule '(rule-1|page)': the policy's on_outage='deny' counts nothing"):
        make()


@pytest.mark.parametrize(
    ("fallback", "error", "match"),
    [
        (5, OptionError, "fallback must be a list of limits, got 5"),
        ({"1/minute"}, OptionError, "must be a list"),
        ([UNLIMITED], OptionError, 'limits nothing: write on_outage="allow"'),
        (["1/minut"], QuotaError, r"fallback: cannot read the limit '1/minut'(.|\n)*did you mean 'minute'"),
    ],
)
@pytest.mark.parametrize("make", [*MAKERS[:4]], ids=NAMES[:4])
def test_what_is_no_list_of_limits_is_refused(make: Any, fallback: Any, error: Any, match: str) -> None:
    with pytest.raises(error, match=match):
        make(on_outage="local", fallback=fallback)


@pytest.mark.parametrize("given", ["1/minute", ["1/minute"], SlidingWindow(1, 60), [SlidingWindow(1, 60)]])
def test_a_single_limit_needs_no_list(given: Any) -> None:
    assert fallback_limits(given) == STRICT


def test_a_rule_changes_what_it_names_and_leaves_the_rest_to_its_policy() -> None:
    policy = Meanwhile("local", STRICT)
    assert policy.changed_by(None, None) == policy
    assert policy.changed_by("local-share", None) == Meanwhile("local-share", STRICT)
    assert policy.changed_by("deny", None) == Meanwhile("deny")
    assert policy.changed_by(None, ()) == LOCAL


@pytest.mark.parametrize(("one", "other"), list(combinations_with_replacement(WORDS, 2)))
def test_the_strictest_word_applies_to_rules_decided_together(one: OnOutage, other: OnOutage) -> None:
    for pair in ((one, other), (other, one)):
        assert strictest([(Meanwhile(word), 1) for word in pair]) == Meanwhile(one)


def test_each_rule_keeps_its_own_fallback() -> None:
    together = strictest([(Meanwhile("local", STRICT), 2), (Meanwhile("allow"), 1)])
    assert together == Meanwhile("local", (), (STRICT, STRICT, ()))
    assert strictest([(Meanwhile("local", STRICT), 2), (Meanwhile("local-share", STRICT), 1)]) == Meanwhile(
        "local-share", STRICT
    )


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("local",), "each process applies the full limits on its own"),
        (("local-share",), "each process applies its share of the limits on its own"),
        (("local", ["1/minute"]), "each process applies the fallback 1/minute on its own"),
        (("deny",), "requests are refused"),
        (("allow",), "requests are admitted without a count"),
    ],
    ids=str,
)
def test_it_says_what_happens(options: Any, said: str) -> None:
    assert str(meanwhile(*options)) == said
