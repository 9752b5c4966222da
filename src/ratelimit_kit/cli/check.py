"""`ratelimit-kit check FILE`: would a server start with this policy? For CI, and before a deployment.

Exit status 0: yes (there may be warnings); 1: it would be refused, or the file makes no policy.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from typing import Any

from ratelimit_kit.errors import RateLimitKitError, StartupWarning
from ratelimit_kit.web.config import read_file
from ratelimit_kit.web.policy import Policy


def add_to(commands: Any) -> None:
    """Add the subcommand to a parser."""
    parser = commands.add_parser("check", help="would a server start with this policy file?", description=__doc__)
    parser.add_argument("file", help="a TOML file as Policy.from_file reads it")
    parser.add_argument("--workers", type=int, metavar="N", help="check for N worker processes")
    parser.add_argument("--live", action="store_true", help="ask the store too")
    parser.add_argument("--strict", action="store_true", help="let warnings fail as well")
    parser.add_argument("--json", action="store_true", help="print JSON for machines")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print every finding; 1 when one would refuse the start."""
    found = [
        {
            "code": one.rlk,
            "level": "warning" if isinstance(one, StartupWarning) else "error",
            "message": str(one).removesuffix(f" [{one.rlk}]"),
        }
        for one in _findings(options)
    ]
    errors = sum(one["level"] == "error" for one in found)
    if options.json:
        print(json.dumps({"file": options.file, "ok": not errors, "findings": found}, indent=2))
    else:
        for one in found:
            print(f"{one['level']} {one['code']}: {one['message']}")
        print(_summary(options, errors, len(found) - errors))
    return 1 if errors or (options.strict and found) else 0


def _findings(options: argparse.Namespace) -> Iterator[RateLimitKitError]:
    try:
        config = dict(read_file(options.file))
        if options.workers is not None:
            config["workers"] = options.workers
        policy = Policy.from_config(config)
    except RateLimitKitError as error:
        yield error
        return
    yield from policy.findings(live=options.live)


def _summary(options: argparse.Namespace, errors: int, warnings: int) -> str:
    asked = "" if options.live else " The store was not asked (--live does)."
    if errors:
        return f"{options.file}: a server would not start ({_number(errors, 'error')}).{asked}"
    said = f" with {_number(warnings, 'warning')}" if warnings else ""
    return f"{options.file}: a server would start{said}.{asked}"


def _number(count: int, what: str) -> str:
    return f"{count} {what}" + ("" if count == 1 else "s")
