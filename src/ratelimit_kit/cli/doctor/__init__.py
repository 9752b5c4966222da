"""`ratelimit-kit doctor`: does the store do what the limits need, from this machine, now?

Runs the deployment checklist against the live store and prints for each check what was found and, if
it fails, what to type. It writes one temporary key and removes it; secrets are never printed.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

from ratelimit_kit.cli import exits
from ratelimit_kit.cli.doctor.checkup import checkup
from ratelimit_kit.cli.findings import Finding, as_json, of_error, print_line, status_of, summary
from ratelimit_kit.cli.source import PLATFORMS, add_platform, add_source, check_source, platform_of, read_source
from ratelimit_kit.cli.terminal import print_json
from ratelimit_kit.errors import RateLimitKitError

EPILOG = f"""\
examples:
  ratelimit-kit doctor ratelimit.toml --workers 4
  ratelimit-kit doctor --store redis://127.0.0.1:6379/0
  DJANGO_SETTINGS_MODULE=mysite.settings ratelimit-kit doctor --django --workers 4
  DJANGO_SETTINGS_MODULE=mysite.settings ratelimit-kit doctor --store django-cache://default

Warnings do not fail: an evicting Redis holds every limit until its memory is full. With --strict they do.

{PLATFORMS}

{exits.SAID}"""


def add_to(commands: Any) -> None:
    """Add the subcommand to a parser."""
    parser = commands.add_parser(
        "doctor",
        help="does the store do what the limits need?",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_source(parser, positional=True)
    parser.add_argument("--workers", type=int, metavar="N", help="the number of worker processes in production")
    add_platform(parser)
    parser.add_argument("--strict", action="store_true", help="let warnings fail as well")
    parser.add_argument("--json", action="store_true", help="print JSON for machines")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print every finding as it is made; the exit status is 1 if one fails."""
    check_source(options)
    findings: list[Finding] = []
    for finding in _findings(options):
        findings.append(finding)
        if not options.json:
            print_line(finding)
    status = status_of(findings, strict=options.strict)
    if options.json:
        print_json({"ok": status == exits.FINE, "findings": as_json(findings)})
    else:
        print(summary(findings))
    return status


def _findings(options: argparse.Namespace) -> Iterator[Finding]:
    try:
        config = dict(read_source(options))
    except RateLimitKitError as error:
        yield of_error(error)
        return
    if options.workers is not None:
        config["workers"] = options.workers
    yield from checkup(config, bare=options.store is not None, platform=platform_of(options))
