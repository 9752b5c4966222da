"""`ratelimit-kit check FILE`: would a server start with this policy? For CI, and before a deployment.

It does not use the network unless `--live` is given.
"""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator
from typing import Any

from ratelimit_kit.cli import exits
from ratelimit_kit.cli.findings import FIXES
from ratelimit_kit.cli.source import PLATFORMS, add_allowance, add_platform, allowed, platform_of
from ratelimit_kit.cli.terminal import print_json, shown, shown_lines
from ratelimit_kit.errors import RateLimitKitError, StartupRefused, StartupWarning, StoreError
from ratelimit_kit.web.policy.config import read_file
from ratelimit_kit.web.policy.policy import Policy

EPILOG = f"""\
examples:
  ratelimit-kit check ratelimit.toml --workers 4
  ratelimit-kit check ratelimit.toml --platform kubernetes
  ratelimit-kit check ratelimit.toml --live --strict       before a deployment, where the store can be reached
  ratelimit-kit check ratelimit.toml --rules               see what was read

A file that is not a valid policy is a finding too, with status 1. One that names code ("import:shop.limits:account") is
read only with --allow-imports, because importing it runs it. In a Django project `manage.py check` does the same.

{PLATFORMS}

{exits.SAID}"""


def add_to(commands: Any) -> None:
    """Add the subcommand to a parser."""
    parser = commands.add_parser(
        "check",
        help="would a server start with this policy file?",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", metavar="FILE", help="a TOML file as Policy.from_file reads it")
    parser.add_argument("--workers", type=int, metavar="N", help="check for N worker processes")
    add_platform(parser)
    parser.add_argument("--live", action="store_true", help="check the store too")
    parser.add_argument("--rules", action="store_true", help="print the rules as they were read")
    parser.add_argument("--strict", action="store_true", help="let warnings fail as well")
    parser.add_argument("--json", action="store_true", help="print JSON for machines")
    add_allowance(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print every finding; the exit status is 1 if one would refuse the start."""
    rules: list[dict[str, Any]] = []
    found = [
        {
            "code": one.rlk,
            "level": "warning" if isinstance(one, StartupWarning) else "error",
            "message": str(one).removesuffix(f" [{one.rlk}]"),
            "fix": FIXES.get(one.rlk, ""),
        }
        for one in _findings(options, rules)
    ]
    errors = sum(one["level"] == "error" for one in found)
    if options.json:
        print_json({"file": options.file, "ok": not errors, "findings": found, "rules": rules})
    else:
        _print(options, found, rules)
        print(_summary(options, errors, len(found) - errors))
    return exits.FOUND if errors or (options.strict and found) else exits.FINE


def _findings(options: argparse.Namespace, rules: list[dict[str, Any]]) -> Iterator[RateLimitKitError]:
    try:
        config = dict(read_file(options.file))
    except RateLimitKitError as error:
        yield error
        return
    allowed(config, options.file, options)
    try:
        if options.workers is not None:
            config["workers"] = options.workers
        policy = Policy.from_config(config)
    except RateLimitKitError as error:
        yield error
        return
    rules += [
        {
            "name": named.name,
            "limits": [
                str(limit) for limit in named.rule.limits or [(named.rule.tiers and "a callable's") or "unlimited"]
            ],
            "key": [str(part) for part in named.rule.key],
        }
        for named in policy.rules
    ]
    yield from policy.findings(live=options.live, platform=platform_of(options))
    if options.live:
        with contextlib.suppress(StoreError, StartupRefused):
            policy.store.close()


def _print(options: argparse.Namespace, found: list[dict[str, str]], rules: list[dict[str, Any]]) -> None:
    if options.rules:
        for rule in rules:
            print(f"rule {shown(rule['name'])}: {'; '.join(rule['limits'])} by {shown(' and '.join(rule['key']))}")
    for one in found:
        print(f"{one['level']} {one['code']}: {shown_lines(one['message'])}")
        if one["fix"]:
            print(f"  fix: {one['fix']}")


def _summary(options: argparse.Namespace, errors: int, warnings: int) -> str:
    asked = "" if options.live else " The store was not checked (use --live)."
    if platform_of(options) is None:
        asked += " For Kubernetes and other platforms: --platform NAME."
    if errors:
        return f"{shown(options.file)}: a server would not start ({_number(errors, 'error')}).{asked}"
    said = f" with {_number(warnings, 'warning')}" if warnings else ""
    return f"{shown(options.file)}: a server would start{said}.{asked}"


def _number(count: int, what: str) -> str:
    return f"{count} {what}" + ("" if count == 1 else "s")
