"""What `check`, `doctor` and `verify` report: one finding per line, with what was found and what to type.

A finding passes, warns, fails, or was skipped because an earlier one failed; a low one is a choice that someone may have
forgotten. With only warnings the command exits with 0, unless --strict is given; low ones never fail.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from ratelimit_kit.cli import exits
from ratelimit_kit.cli.terminal import shown
from ratelimit_kit.errors import RateLimitKitError, StartupWarning

Status = Literal["pass", "low", "warn", "fail", "skip"]

WORDS = {"pass": "pass", "low": "LOW ", "warn": "WARN", "fail": "FAIL", "skip": "skip"}

CHECKS = {
    "RLK105": "client library",
    "RLK201": "workers",
    "RLK202": "workers",
    "RLK211": "platform",
    "RLK265": "platform",
    "RLK256": "mode",
    "RLK203": "cache",
    "RLK204": "server",
    "RLK205": "primary",
    "RLK206": "time-outs",
    "RLK251": "eviction",
    "RLK252": "cluster slots",
    "RLK253": "clock",
}
"""The check that an error belongs to, by code; all other errors are about the configuration."""

FIXES = {
    "RLK201": 'store = "redis://127.0.0.1:6379/0" in the policy (or run one worker process)',
    "RLK202": 'store = "redis://127.0.0.1:6379/0" in the policy (or run one worker process)',
    "RLK211": 'store = "redis://HOST:6379/0", a Redis that all instances reach; or, for one instance and never more: hosts = 1',
    "RLK265": 'store = "redis://HOST:6379/0", a Redis that all instances reach; or, for one instance and never more: hosts = 1',
    "RLK203": 'a Redis or Memcached cache in CACHES, and "store": "django-cache://" with its alias in RATELIMIT_KIT',
    "RLK205": "the primary's address in the store's URL, or redis+sentinel://..., which follows it",
    "RLK206": "redis.Redis(..., socket_timeout=0.25, socket_connect_timeout=0.25), or give the store a URL",
    "RLK251": "redis-cli config set maxmemory-policy noeviction (and in redis.conf); for Memcached: more memory, -m",
    "RLK252": "nothing, if a brief extra refusal is acceptable; else one rule per path, or a Redis without cluster",
    "RLK253": "timedatectl set-ntp true, on this machine and on the store's",
}
"""What to type, by code, unless the message already says it."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of a report."""

    check: str
    status: Status
    found: str
    fix: str = ""
    code: str = ""


def of_error(error: RateLimitKitError, fix: str = "") -> Finding:
    """The finding for an error or a warning of the library."""
    status: Status = "warn" if isinstance(error, StartupWarning) else "fail"
    found = str(error).removesuffix(f"[{error.rlk}]").strip()
    return Finding(CHECKS.get(error.rlk, "configuration"), status, found, fix or FIXES.get(error.rlk, ""), error.rlk)


def counted(findings: Iterable[Finding]) -> dict[Status, int]:
    """How many findings there are of each status."""
    numbers: dict[Status, int] = {"pass": 0, "low": 0, "warn": 0, "fail": 0, "skip": 0}
    for finding in findings:
        numbers[finding.status] += 1
    return numbers


def status_of(findings: Sequence[Finding], *, strict: bool) -> int:
    """The exit status for a report."""
    numbers = counted(findings)
    return exits.FOUND if numbers["fail"] or (strict and numbers["warn"]) else exits.FINE


def as_json(findings: Iterable[Finding]) -> list[dict[str, Any]]:
    """The findings as JSON values."""
    return [asdict(finding) for finding in findings]


def print_line(finding: Finding) -> None:
    """Print one finding: its status, its check and what was found, with the fix below."""
    code = f" [{finding.code}]" if finding.code else ""
    first, *rest = finding.found.split("\n")
    print(f"{WORDS[finding.status]}  {finding.check:<15} {shown(first)}{code}")
    for line in rest:
        print(f"      {shown(line)}".rstrip())
    if finding.fix:
        print(f"      fix: {shown(finding.fix)}")


def summary(findings: Sequence[Finding]) -> str:
    """The last line of a report."""
    numbers = counted(findings)
    low = f", {numbers['low']} low" if numbers["low"] else ""
    skipped = f", {numbers['skip']} skipped" if numbers["skip"] else ""
    return f"{numbers['pass']} passed, {numbers['warn']} warned, {numbers['fail']} failed{low}{skipped}"
