"""What `ratelimit-kit verify` concludes from responses; tests/live/cli/test_commands.py runs it on real sites."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ratelimit_kit.cli.findings import Finding
from ratelimit_kit.cli.verify.fields import read_list, told
from ratelimit_kit.cli.verify.judgement import after_waiting, count, denial, fields
from ratelimit_kit.cli.verify.site import SiteResponse

PROBLEM = {
    "type": "https://iana.org/assignments/http-problem-types#quota-exceeded",
    "status": 429,
    "violated-policies": ["s"],
}


def admitted(left: int, at: float = 0.0, *, quota: int = 5, window: int = 60) -> SiteResponse:
    headers = {"ratelimit-policy": f'"s";q={quota};w={window}', "ratelimit": f'"s";r={left};t=9'}
    return SiteResponse(200, headers, b"", at, at + 0.01)


def refused(at: float = 0.0, **changes: str) -> SiteResponse:
    headers = {
        "ratelimit-policy": '"s";q=5;w=60', "ratelimit": '"s";r=0;t=9', "retry-after": "9",
        "content-type": "application/problem+json", "cache-control": "no-store",
        **{name.replace("_", "-"): value for name, value in changes.items()},
    }  # fmt: skip
    return SiteResponse(429, headers, json.dumps(PROBLEM).encode(), at, at + 0.01)


GOOD = [*(admitted(left, 4 - left) for left in (4, 3, 2, 1, 0)), refused(5), refused(6)]


def statuses(findings: list[Finding]) -> dict[str, str]:
    return {finding.check: finding.status for finding in findings}


def judged(answers: list[SiteResponse]) -> dict[str, str]:
    return statuses([*count(answers, 5, in_turn=True), *fields(answers, 5), *denial(answers[-1])])


def test_a_site_that_holds_its_limit_passes() -> None:
    assert set(judged(GOOD).values()) == {"pass"}


def test_nothing_refused_is_no_limit() -> None:
    (finding,) = count([admitted(4)] * 7, 5, in_turn=True)
    assert finding.status == "fail"
    assert "nothing was refused" in finding.found


BARE = SiteResponse(200, {}, b"", 0, 0)
BARE_REFUSAL = SiteResponse(429, {"retry-after": "9"}, b"", 0, 0)


@pytest.mark.parametrize(
    "answers",
    [
        [BARE] * 7,
        [*[BARE] * 6, BARE_REFUSAL],
        [*[BARE] * 3, BARE_REFUSAL],
        [*[BARE] * 4, BARE_REFUSAL, BARE, BARE_REFUSAL],
    ],
    ids=["nothing refused", "too many", "too few", "order"],
)
def test_without_any_fields_the_store_may_be_away(answers: list[SiteResponse]) -> None:
    """Local counters send none, and neither another store nor a reset would help then."""
    for finding in [*count(answers, 5, in_turn=True), *fields(answers, 5)]:
        assert finding.status == "pass" or finding.fix.startswith("ratelimit-kit doctor FILE: if the store is away")


def test_fields_that_only_some_responses_have_may_be_an_outage_too() -> None:
    (finding,) = fields([*GOOD[:3], BARE_REFUSAL], 5)
    assert "are missing from 1 of 4" in finding.found
    assert "if the store is away" in finding.fix


def test_with_fields_a_store_that_is_not_shared_is_the_cause() -> None:
    findings = list(count([admitted(4)] * 7, 5, in_turn=True))
    assert findings[0].fix.startswith("a store that all workers share")


def test_one_too_many_within_the_window_fails() -> None:
    (finding, *_) = count([*GOOD[:5], admitted(0, 5), refused(6)], 5, in_turn=False)
    assert (finding.check, finding.status) == ("count", "fail")


def test_more_than_the_limit_over_more_than_the_window_is_right() -> None:
    answers = [admitted(1, at * 10, window=40) for at in range(7)] + [refused(70)]
    (finding,) = count(answers, 5, in_turn=False)
    assert finding.status == "pass"
    assert "longer than the window of 40 s" in finding.found


def test_what_a_bucket_refills_meanwhile_is_a_warning() -> None:
    answers = [admitted(4, 0.8 * at, window=10) for at in range(7)] + [refused(7)]
    (finding,) = count(answers, 5, in_turn=False)
    assert finding.status == "warn"
    assert "token bucket" in finding.found


def test_units_used_before_are_told_from_a_limit_that_is_too_low() -> None:
    answers = [admitted(2), admitted(1), admitted(0), refused(), refused()]
    assert statuses(list(count(answers, 5, in_turn=True))) == {"count": "warn"}
    answers = [SiteResponse(200, {}, b"", 0, 0)] * 3 + [refused()]
    assert statuses(list(count(answers, 5, in_turn=True))) == {"count": "fail"}


def test_a_pass_after_a_refusal_is_out_of_order() -> None:
    answers = [*GOOD[:4], refused(3), admitted(0, 4), refused(5)]
    assert statuses(list(count(answers, 5, in_turn=True)))["order"] == "fail"


def test_a_broken_site_proves_nothing() -> None:
    (finding,) = count([SiteResponse(503, {}, b"", 0, 0)] * 7, 5, in_turn=True)
    assert (finding.check, finding.status) == ("site", "fail")


def test_workers_that_count_apart_are_seen_in_the_fields() -> None:
    answers = [admitted(left) for left in (4, 4, 3, 2, 3)]
    found = {finding.check: finding for finding in fields(answers, 5)}
    assert found["one counter"].status == "fail"
    assert "remaining was 4 in 2 responses" in found["one counter"].found


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (SiteResponse(200, {}, b"", 0, 0), "warn"),
        (SiteResponse(200, {"ratelimit": "s;r=4"}, b"", 0, 0), "fail"),
        (SiteResponse(200, {"ratelimit-policy": '"s";q=5', "ratelimit": '"s";r=-1'}, b"", 0, 0), "fail"),
        (SiteResponse(200, {"ratelimit-policy": '"s";q=9', "ratelimit": '"s";r=1'}, b"", 0, 0), "fail"),
        (SiteResponse(200, {"x-ratelimit-limit": "5", "x-ratelimit-remaining": "4"}, b"", 0, 0), "pass"),
        (SiteResponse(200, {"ratelimit-limit": "5, 5;w=60", "ratelimit-remaining": "4"}, b"", 0, 0), "pass"),
        (SiteResponse(200, {"x-ratelimit-limit": "5", "x-ratelimit-remaining": "many"}, b"", 0, 0), "fail"),
    ],
)
def test_fields_of_every_family_are_read(answer: SiteResponse, status: str) -> None:
    assert statuses(list(fields([answer], 5)))["fields"] == status


@pytest.mark.parametrize(
    ("changes", "check", "status"),
    [
        ({"retry_after": ""}, "Retry-After", "fail"),
        ({"retry_after": "0"}, "Retry-After", "fail"),
        ({"retry_after": "1.5"}, "Retry-After", "fail"),
        ({"retry_after": "8"}, "Retry-After", "fail"),  # the fields say 9
        ({"retry_after": "10"}, "Retry-After", "pass"),
        ({"ratelimit": '"s";r=0;t=9, "day";r=40;t=900'}, "Retry-After", "pass"),  # the other limit has not refused
        ({"cache_control": ""}, "caching", "warn"),
        ({"content_type": "text/html"}, "problem body", "warn"),
    ],
)
def test_a_refusal_that_does_not_tell_all_is_said(changes: dict[str, str], check: str, status: str) -> None:
    assert statuses(list(denial(refused(**changes))))[check] == status


def test_a_problem_of_another_status_fails() -> None:
    answer = SiteResponse(429, {"content-type": "application/problem+json"}, b'{"status": 503}', 0, 0)
    assert statuses(list(denial(answer)))["problem body"] == "fail"
    assert statuses(list(denial(SiteResponse(429, answer.headers, b"[", 0, 0))))["problem body"] == "fail"


def test_retry_after_must_be_the_truth() -> None:
    assert after_waiting(admitted(0), 9).status == "pass"
    assert after_waiting(refused(), 9).status == "fail"


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ('"a";q=5;w=60, "b c";q=1', [("a", {"q": 5, "w": 60}), ("b c", {"q": 1})]),
        (r'"say \"hi\"";r=0', [('say "hi"', {"r": 0})]),
        ('"a";q=5;qu="content-bytes";pk=:AAEC:', [("a", {"q": 5, "qu": "content-bytes", "pk": ":AAEC:"})]),
        ('"a";flag', [("a", {"flag": True})]),
        ("a;q=5", None),
        ('"a";q=5,', None),
        ('"a" "b"', None),
        ("", None),
    ],
)
def test_structured_fields_are_read_strictly(text: str, items: object) -> None:
    assert read_list(text) == items


@given(st.text() | st.text(alphabet='"a;=,q1 \\\\'), st.text())
def test_no_field_breaks_the_reading(field: str, other: str) -> None:
    """A site may send anything."""
    read_list(field)
    told({"ratelimit": field, "ratelimit-policy": other})
    told({"x-ratelimit-limit": field, "x-ratelimit-remaining": other})
    answer = SiteResponse(
        429, {"retry-after": field, "content-type": "application/problem+json"}, other.encode("utf-8", "replace"), 0, 0
    )
    assert list(denial(answer))


def test_the_own_fields_of_the_library_are_read() -> None:
    import http_sfv

    text = '"site-minute";q=100;w=60, "site-day";q=1000;w=86400'
    independent = http_sfv.List()
    independent.parse(text.encode())
    assert read_list(text) == [(item.value, dict(item.params)) for item in independent]
    assert told({"ratelimit-policy": text, "ratelimit": '"site-day";r=1'}).quotas == {
        "site-minute": 100,
        "site-day": 1000,
    }


def test_names_that_differ_between_the_fields_are_a_finding() -> None:
    answers = [SiteResponse(200, {"ratelimit-policy": '"s";q=5', "ratelimit": '"t";r=4'}, b"", 0, 0)] * 2
    assert statuses(list(fields(answers, 5)))["one counter"] == "fail"


def test_a_retry_after_beyond_reason_is_none() -> None:
    assert refused(**{"retry-after": "9" * 5000}).retry_after is None
    assert statuses(list(denial(refused(**{"retry-after": "9" * 5000}))))["Retry-After"] == "fail"
