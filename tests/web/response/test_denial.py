"""A policy may customise its refusals; the rate-limit fields stay."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ratelimit_kit import Rule
from ratelimit_kit.errors import OptionError
from ratelimit_kit.web.response.denial import Denial, Reply
from tests.web.identity.test_address import request
from tests.web.policy.test_policy import BrokenStore, policy


def refused(denial: Any, **fields: str) -> Any:
    site = policy(Rule("1/minute", name="login"), denial=denial)
    site.check(request())
    return site.check(request(fields=fields))


@pytest.mark.parametrize(
    ("words", "kind", "body"),
    [
        ("Slow down", "text/plain; charset=utf-8", b"Slow down"),
        (b"\x00", "application/octet-stream", b"\x00"),
        ({"error": "slow"}, "application/json", b'{"error": "slow"}'),
        ({"wait": [float("inf"), float("nan"), 1.5]}, "application/json", b'{"wait": [null, null, 1.5]}'),
        (Reply("<p>Slow", "text/html; charset=utf-8"), "text/html; charset=utf-8", b"<p>Slow"),
    ],
    ids=["text", "bytes", "mapping", "numbers that JSON lacks", "reply"],
)
def test_a_denial_in_other_words(words: Any, kind: str, body: bytes) -> None:
    answer = refused(lambda _: words)
    sent = dict(answer.headers)
    assert (answer.status, answer.body, sent["Content-Type"]) == (429, body, kind)
    assert sent["Content-Length"] == str(len(body))
    assert (sent["Retry-After"], sent["RateLimit"], sent["Cache-Control"]) == ("60", '"login";r=0;t=60', "no-store")


def test_a_denial_knows_what_was_refused() -> None:
    seen: list[Denial] = []
    refused(seen.append)
    (denial,) = seen
    assert (denial.status, denial.names, denial.wait, denial.request.path) == (429, ["login"], 60, "/")
    assert (denial.title, denial.detail) == ("Too many requests", "Try again in 60 seconds.")


def test_a_reply_may_have_a_status_and_fields_of_its_own() -> None:
    answer = refused(lambda _: Reply("", status=403, headers=[("X-Own", "1"), ("Retry-After", "99")]))
    sent = dict(answer.headers)
    assert (answer.status, sent["X-Own"], sent["Retry-After"]) == (403, "1", "99")
    assert [name for name, _ in answer.headers].count("Retry-After") == 1


def test_none_is_the_usual_answer() -> None:
    assert json.loads(refused(lambda _: None).body)["violated-policies"] == ["login"]


def test_what_cannot_be_sent_is_an_error() -> None:
    with pytest.raises(OptionError, match="denial= returned 5"):
        refused(lambda _: 5)
    with pytest.raises(OptionError, match="denial must be a callable"):
        policy(Rule("1/minute"), denial="no")


def test_an_outage_is_worded_too() -> None:
    answer = policy(Rule("1/minute"), store=BrokenStore(), on_outage="deny", denial=lambda one: one.title).check(
        request()
    )
    assert (answer.status, answer.body) == (503, b"Temporarily unavailable")


def test_scripts_of_other_origins_may_read_a_refusal() -> None:
    sent = dict(refused(None, origin="https://example.org").headers)
    assert sent["Access-Control-Expose-Headers"] == "RateLimit-Policy, RateLimit, Retry-After"
    assert "Access-Control-Expose-Headers" not in dict(refused(None).headers)
