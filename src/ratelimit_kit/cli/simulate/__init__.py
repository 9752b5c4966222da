"""`ratelimit-kit simulate LOG --limit "100/minute"`: whom would this limit have refused?

Replays an access log, in the common or combined format, through the library's own algorithms with the
log's own time. Nothing is sent, and no store is used. Times in logs are whole seconds, so a request may be
decided up to a second early or late.
"""

from __future__ import annotations

import argparse
from typing import Any

from ratelimit_kit.cli import exits
from ratelimit_kit.cli.simulate.access_log import Malformed, opened
from ratelimit_kit.cli.simulate.order import InOrder
from ratelimit_kit.cli.simulate.replay import NAMESPACE, Replay
from ratelimit_kit.cli.simulate.report import print_report
from ratelimit_kit.cli.source import add_allowance, allowed
from ratelimit_kit.cli.terminal import complain, print_json
from ratelimit_kit.core.validation import options_of
from ratelimit_kit.errors import OptionError
from ratelimit_kit.guard.declarations import Processes
from ratelimit_kit.guarded_store import GuardedStore
from ratelimit_kit.stores.memory.store import MemoryStore
from ratelimit_kit.web.policy.config import read_file, renewed_by
from ratelimit_kit.web.policy.policy import Policy
from ratelimit_kit.web.policy.ruleset import RuleSet
from ratelimit_kit.web.rules.matching import Matching
from ratelimit_kit.web.rules.rule import Rule

EPILOG = f"""\
examples:
  ratelimit-kit simulate access.log --limit 100/minute
  ratelimit-kit simulate access.log.3.gz --limit 100/minute --limit 1000/hour --top 20
  ratelimit-kit simulate access.log --limit 5/minute --path /login --method POST
  ratelimit-kit simulate access.log --policy ratelimit.toml
  zcat -f $(ls -tr access.log*) | ratelimit-kit simulate - --limit "token-bucket: 10/second burst 50" --json

The last one reads all rotated files, the oldest first. Requests are judged in the order of their times, whatever that of
their lines. A line that cannot be read is counted and shown, never dropped silently.

{exits.SAID}"""


def add_to(commands: Any) -> None:
    """Add the subcommand to a parser."""
    parser = commands.add_parser(
        "simulate",
        help="whom would a limit have refused?",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("log", metavar="LOG", help="an access log, plain or gzip; - for standard input")
    parser.add_argument("--limit", action="append", default=[], metavar="LIMIT", help="a limit to try (repeatable)")
    parser.add_argument("--policy", metavar="FILE", help="try the rules of a policy file instead")
    parser.add_argument(
        "--key",
        default="ip",
        help="what to count by: ip, user, global, header:user-agent, header:referer (default: ip)",
    )
    parser.add_argument("--path", action="append", metavar="PATH", help="only this path, or prefix/* (repeatable)")
    parser.add_argument("--method", action="append", metavar="METHOD", help="only this method (repeatable)")
    parser.add_argument("--top", type=int, default=10, metavar="N", help="clients to list (default: 10)")
    parser.add_argument("--json", action="store_true", help="print JSON for machines")
    add_allowance(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Replay the log and print who would have been refused; the exit status is 1 if no line is a request."""
    replay = Replay(_matching(options))
    with opened(options.log) as lines:
        ordered = InOrder(lines)
        for line in ordered:
            if isinstance(line, Malformed):
                replay.report.skip(line)
            else:
                replay.hit(line)
    replay.report.disordered = ordered.disordered
    if options.json:
        print_json(replay.report.as_json(options.top))
    else:
        print_report(options.log, replay.report, options.top)
    if not replay.report.requests:
        complain(f"{options.log} contains no line of an access log")
        return exits.FOUND
    return exits.FINE


def _matching(options: argparse.Namespace) -> Matching:
    """The rules to try, matched to requests."""
    if bool(options.limit) == (options.policy is not None):
        raise OptionError("say what to try: --limit 100/minute, or --policy FILE")
    rules = RuleSet([], GuardedStore(MemoryStore(), None, Processes(workers=1)), NAMESPACE)
    if options.policy is not None:
        config = allowed(read_file(options.policy), options.policy, options)
        return renewed_by(config, options_of(Policy.__init__), rules).matching
    rule = Rule(*options.limit, key=options.key, paths=options.path, methods=options.method)
    return rules.renewed([rule]).matching
