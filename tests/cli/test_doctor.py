"""What `doctor` says about outages, which needs no server."""

from __future__ import annotations

from typing import Any

import pytest

from ratelimit_kit import MemcachedStore, RedisStore
from ratelimit_kit.cli.doctor.checkup import checkup
from ratelimit_kit.cli.doctor.fixes import fix_of_call
from ratelimit_kit.cli.findings import Finding, status_of, summary
from ratelimit_kit.errors import StoreError, StoreUnavailableError

AWAY = "while the store is away,"
OUTSIDE = ". A middleware raises outside of the application's error handlers: the visitor gets 500"


def found(**config: Any) -> tuple[Finding, list[Finding]]:
    rules = config.pop("rules", [{"limits": "5/minute", "name": "login"}])
    findings = list(checkup({"rules": rules, "store": "memory://", "workers": 1, **config}, bare=False))
    return next(one for one in findings if one.check == "outage"), findings


def test_to_fail_open_is_low_and_never_a_failure() -> None:
    finding, findings = found(on_outage="allow")
    assert finding.status == "low"
    assert 'on_outage = "local"' in finding.fix
    assert status_of(findings, strict=True) == 0
    assert summary(findings).endswith("0 failed, 1 low")


def test_so_is_a_rule_that_does() -> None:
    finding, _ = found(rules=[{"limits": "5/minute", "name": "login", "on_outage": "allow"}])
    assert finding.status == "low"
    finding, findings = found(
        rules=[
            {"limits": "100/minute", "name": "site"},
            {"limits": "5/minute", "name": "login", "on_outage": "deny"},
            {"limits": "9/minute", "name": "search", "fallback": ["1/minute"]},
            {"limits": "9/minute", "name": "feed", "on_outage": "allow"},
            {"limits": "9/minute", "name": "buy", "on_outage": "raise"},
        ]
    )
    assert [(one.status, one.found) for one in findings if one.check == "outage"] == [
        ("pass", f"on_outage='local' (for site): {AWAY} each process applies the full limits on its own"),
        ("pass", f"on_outage='deny' (for login): {AWAY} requests are refused"),
        ("pass", f"on_outage='local' (for search): {AWAY} each process applies the fallback 1/minute on its own"),
        ("low", f"on_outage='allow' (for feed): {AWAY} requests are admitted without a count"),
        (
            "low",
            f"on_outage='raise' (for buy): {AWAY} StoreError is raised{OUTSIDE}",
        ),
    ]


def test_rules_that_refuse_nobody_have_no_outcome() -> None:
    finding, _ = found(rules=[{"limits": "5/minute", "on_outage": "allow", "shadow": True}])
    assert (finding.status, finding.found) == ("pass", f"{AWAY} no rule is enforced, so requests are admitted")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "on_outage='local': while the store is away, each process applies the full limits on its own"),
        ({"fallback": ["1/minute"]}, "each process applies the fallback 1/minute on its own"),
        ({"on_outage": "deny"}, "requests are refused"),
    ],
)
def test_everything_else_passes_and_is_said(options: Any, said: str) -> None:
    finding, findings = found(**options)
    assert finding.status == "pass"
    assert finding.found.endswith(said)
    assert "low" not in summary(findings)


@pytest.mark.parametrize(
    ("said", "redis", "memcached"),
    [
        (
            "Error 111 connecting to redis-replica:6379. Connection refused",
            "systemctl start redis",
            "systemctl start mem",
        ),
        ("You can't write against a read only replica", "the primary's address", "the primary's address"),
        ("it is full, and has no room", "config set maxmemory", "more memory for Memcached"),
        ("accepts no more connections", "config set maxclients", "a higher -c"),
        ("[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed", "ssl_ca_certs", "a certificate"),
        ("[SSL: WRONG_VERSION_NUMBER] wrong version number", "redis:// instead of rediss://", "does not use TLS"),
        ("no reply within 0.25 s", "--latency", "echo stats"),
        ("Protocol error: unauthenticated multibulk length", "the right user and password", "the right user"),
    ],
)
def test_the_fix_is_that_of_the_cause(said: str, redis: str, memcached: str) -> None:
    for store, fix in (
        (RedisStore("redis://readonly-password:6379"), redis),
        (MemcachedStore("memcached://h"), memcached),
    ):
        error = StoreUnavailableError(f"{store!r} gave no decision: {said}")
        assert fix in fix_of_call(store, str(error), error)


def test_a_server_that_is_alive_needs_no_start() -> None:
    store = RedisStore("redis://h")
    assert "instead of rediss://" in fix_of_call(RedisStore("rediss://h"), "no reply within 0.25 s", None)
    assert fix_of_call(store, "something new", StoreError("something new")) == ""
    assert "systemctl" in fix_of_call(store, "something new", StoreUnavailableError("something new"))
