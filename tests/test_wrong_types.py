"""A value of a wrong type, for any option: an error with a code, and never one of Python's own."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from ratelimit_kit import (
    FixedWindow,
    Limiter,
    MemcachedStore,
    MemoryStore,
    Policy,
    RedisStore,
    Rule,
    SlidingWindow,
    TokenBucket,
)
from ratelimit_kit.core.validation import options_of
from ratelimit_kit.errors import OptionError, RateLimitKitError
from ratelimit_kit.web.response.headers import FAMILIES

WRONG: list[Any] = [
    *([], {}, set(), (), [[]], [{}], ["nope"], {"a": 1}, ("a",)),
    *(None, True, 5, -1, 1.5, float("nan"), float("inf"), 10**400),
    *("", "nope", b"x", object(), int, lambda: None),
]

MAKERS: dict[str, tuple[Callable[..., Any], Any]] = {
    "Policy": (lambda **options: Policy(Rule("1/minute"), **options), Policy),
    "Rule": (lambda **options: Rule("1/minute", **options), Rule),
    "Limiter": (lambda **options: Limiter("1/minute", **options), Limiter),
    "MemoryStore": (MemoryStore, MemoryStore),
    "MemcachedStore": (MemcachedStore, MemcachedStore),
    "RedisStore": (
        lambda **options: RedisStore(**({} if {"url", "client", "async_client"} & options.keys() else URL), **options),
        RedisStore,
    ),
    "SlidingWindow": (lambda **options: SlidingWindow(**{"limit": 5, "per": 60, **options}), SlidingWindow),
    "TokenBucket": (lambda **options: TokenBucket(**{"limit": 5, "per": 60, **options}), TokenBucket),
    "FixedWindow": (lambda **options: FixedWindow(**{"limit": 5, "per": "day", **options}), FixedWindow),
}
URL = {"url": "redis://127.0.0.1:1/0"}


OPTIONS = [(what, option) for what, (_, kind) in MAKERS.items() for option in options_of(kind.__init__)]


@pytest.mark.parametrize(("what", "option"), OPTIONS)
def test_a_wrong_type_is_an_error_with_a_code(what: str, option: str, capsys: pytest.CaptureFixture[str]) -> None:
    make, _ = MAKERS[what]
    for value in WRONG:
        try:
            make(**{option: value})
        except RateLimitKitError as error:
            assert error.rlk[3:].isdigit()
    capsys.readouterr()  # a refused start is written to stderr too


@pytest.mark.parametrize(
    "value",
    [*(one for one in WRONG if one != "none"), ["draft6"], {"draft6": 1}, ("none",)],
    ids=lambda value: re.sub(" at 0x.*", "", repr(value)),
)
def test_headers_are_one_of_the_families(value: Any) -> None:
    with pytest.raises(OptionError, match=r"is not a family of fields; .*RLK103"):
        Policy(Rule("1/minute"), headers=value)
    assert list(FAMILIES) == ["draft11", "draft6", "x-ratelimit", "none"]


@pytest.mark.parametrize(
    "read",
    [
        Policy.from_config,
        Policy.from_file,
        lambda value: Policy.from_config({"rules": value}),
        lambda value: Policy.from_config({"rules": [value]}),
        lambda value: Policy.from_config({"rules": [{"limits": value}]}),
        Policy,
        Rule,
        Limiter,
    ],
    ids=["config", "file", "rules", "rule", "limits", "Policy", "Rule", "Limiter"],
)
def test_plain_data_of_a_wrong_type_too(read: Callable[[Any], Any]) -> None:
    for value in WRONG:
        try:
            read(value)
        except RateLimitKitError as error:
            assert error.rlk[3:].isdigit()


@pytest.mark.parametrize("option", ["start_without_store", "expose_headers"])
@pytest.mark.parametrize("value", ["no", 1, None, []], ids=repr)
def test_a_switch_is_true_or_false(option: str, value: Any) -> None:
    with pytest.raises(OptionError, match=f"{option} must be True or False"):
        Policy(Rule("1/minute"), **{option: value})
