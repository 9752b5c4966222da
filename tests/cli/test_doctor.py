"""What `doctor` says about outages, which needs no server."""

from __future__ import annotations

from typing import Any

import pytest

from ratelimit_kit.cli.doctor.checkup import checkup
from ratelimit_kit.cli.findings import Finding, status_of, summary


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
    assert "under login are admitted" in finding.found


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "on_outage='local': while the store is away, each process applies the whole limits on its own"),
        ({"fallback": ["1/minute"]}, "each process applies the fallback 1/minute on its own"),
        ({"on_outage": "deny"}, "requests are refused"),
    ],
)
def test_everything_else_passes_and_is_said(options: Any, said: str) -> None:
    finding, findings = found(**options)
    assert finding.status == "pass"
    assert finding.found.endswith(said)
    assert "low" not in summary(findings)
