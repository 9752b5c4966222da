from __future__ import annotations

import time

import http_sfv
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratelimit_kit import FixedWindow, SlidingWindow, TokenBucket, Verdict
from ratelimit_kit.core.limit import Limit
from ratelimit_kit.web.http.asgi import RawFields
from ratelimit_kit.web.http.messages import Response
from ratelimit_kit.web.response.headers import FAMILIES, Item, quota, retry_after, to_add

SECOND = 1_000_000
MINUTE = SlidingWindow(100, per=60)


def item(limit: Limit = MINUTE, *, allowed: bool = True, left: int = 37, wait: int = 0, reset: int = 0) -> Item:
    return "burst", Verdict(allowed, limit, left, wait, reset)


@pytest.mark.parametrize(
    ("one", "state"),
    [
        (item(left=100), "r=100;t=60"),
        (item(left=37), "r=37;t=23"),
        (item(left=1), "r=1;t=1"),
        (item(left=0, wait=12 * SECOND + 1), "r=0;t=13"),
        (item(left=0, wait=12 * SECOND, allowed=False), "r=0;t=12"),
        (item(left=50, wait=5 * SECOND, allowed=False), "r=50;t=5"),
    ],
)
def test_the_effective_window_promises_no_more_than_the_policy(one: Item, state: str) -> None:
    policy, fields = FAMILIES["draft11"]([one])
    assert policy == ("RateLimit-Policy", '"burst";q=100;w=60')
    assert fields == ("RateLimit", f'"burst";{state}')


@given(
    st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1),
    st.integers(1, 2**40),
    st.integers(1, 10**7),
    st.floats(0, 1),
    st.booleans(),
    st.integers(0, 10**13),
)
def test_draft_11_fields_are_structured_fields(
    name: str, limit: int, per: int, left: float, allowed: bool, wait: int
) -> None:
    verdict = Verdict(allowed, SlidingWindow(limit, per=per), int(limit * left), wait, wait)
    for _, value in FAMILIES["draft11"]([(name, verdict)]):
        parsed = http_sfv.List()
        parsed.parse(value.encode())
        assert parsed[0].value == name
    parameters = dict(parsed[0].params)
    assert parameters["r"] == verdict.remaining
    assert parameters["t"] >= 1
    assert parameters["r"] * per <= parameters["t"] * limit or not allowed
    if not allowed:
        assert parameters["t"] <= int(retry_after(wait / SECOND)[1])


def test_a_token_bucket_is_its_burst_per_time_to_refill_it() -> None:
    assert quota(TokenBucket(10, per=1, burst=50)) == (50, 5)
    assert quota(TokenBucket(10, per=0.1)) == (10, 1)
    assert quota(FixedWindow(1000, per="day")) == (1000, 86_400)


def test_the_older_families() -> None:
    items = [
        item(left=37, reset=50 * SECOND),
        ("daily", Verdict(True, SlidingWindow(1000, per="day"), 5, 0, 9 * SECOND)),
    ]
    assert FAMILIES["draft6"](items) == [
        ("RateLimit-Limit", "1000"),
        ("RateLimit-Remaining", "5"),
        ("RateLimit-Reset", "9"),
        ("RateLimit-Policy", "100;w=60, 1000;w=86400"),
    ]
    before = time.time()
    fields = dict(FAMILIES["x-ratelimit"](items))
    assert fields["X-RateLimit-Limit"] == "1000"
    assert fields["X-RateLimit-Remaining"] == "5"
    assert before + 9 <= int(fields["X-RateLimit-Reset"]) <= time.time() + 10
    assert FAMILIES["none"](items) == []


@pytest.mark.parametrize(("seconds", "text"), [(0.0, "1"), (0.001, "1"), (1.0, "1"), (1.000001, "2"), (59.999, "60")])
def test_retry_after_is_never_early(seconds: float, text: str) -> None:
    assert retry_after(seconds) == ("Retry-After", text)


def test_fields_that_are_there_already_are_added_to_or_kept() -> None:
    fields = [("RateLimit", '"a";r=1;t=1'), ("X-RateLimit-Limit", "5")]
    assert to_add(fields, Response(200, {})) == fields
    assert to_add(fields, Response(200, {"RateLimit": '"b";r=1;t=1', "X-RateLimit-Limit": "5"})) == fields[:1]
    assert to_add(fields, Response(302, {})) == []


@pytest.mark.parametrize(
    "field", [("cache-control", "public, max-age=60"), ("cache-control", "S-MaxAge=60"), ("age", "12")], ids=str
)
def test_what_a_cache_may_give_to_others_carries_no_client_s_numbers(field: tuple[str, str]) -> None:
    assert to_add([("RateLimit", '"a";r=1;t=1')], Response(200, dict([field]))) == []


def test_scripts_of_other_origins_may_read_the_fields() -> None:
    fields = [("RateLimit", '"a";r=1;t=1')]
    added = to_add(fields, Response(200, {"access-control-expose-headers": "X-Own"}), exposed=True)
    assert added == [*fields, ("Access-Control-Expose-Headers", "RateLimit, Retry-After")]
    assert to_add(fields, Response(304, {}), exposed=True) == []


def test_raw_fields_are_found_in_any_case_and_only_whole() -> None:
    fields = RawFields([(b"Origin", b"https://example"), (b"x-age", b"1"), (b"accept", b"a"), (b"Accept", b"b")])
    assert "origin" in fields
    assert "ORIGIN" in fields
    assert "age" not in fields
    assert "orig" not in fields
    assert "" not in fields
    assert 1 not in fields
    assert fields["accept"] == "a, b"
    assert "origin" not in RawFields([])
