"""`ratelimit-kit inspect KEY`: how much quota does this client have left? It charges and writes nothing."""

from __future__ import annotations

import argparse
import math
from typing import Any

from ratelimit_kit.cli import exits
from ratelimit_kit.cli.clients import KEYS, Counter, add_client, counters
from ratelimit_kit.cli.terminal import print_json, shown
from ratelimit_kit.core.decision import Decision

EPILOG = f"""\
examples:
  ratelimit-kit inspect 203.0.113.7 --policy ratelimit.toml
  ratelimit-kit inspect user:42 --django --rule login
  ratelimit-kit inspect user:42 --store redis://127.0.0.1:6379/0 --limit 100/minute --name api

{KEYS}
It exits with 1 if a limit would refuse the client now.

{exits.SAID}"""


def add_to(commands: Any) -> None:
    """Add the subcommand to a parser."""
    parser = commands.add_parser(
        "inspect",
        help="how much quota does a client have left?",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_client(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print what is left under each limit; the exit status is 1 if one would refuse."""
    store, found = counters(options, shared=True)
    looked = [(counter, counter.peek(store)) for counter in found]
    store.close()
    if options.json:
        print_json({"counters": [as_json(counter, decision) for counter, decision in looked]})
    else:
        for counter, decision in looked:
            print_counter(counter, decision)
    return exits.FINE if all(decision.allowed for _, decision in looked) else exits.FOUND


def print_counter(counter: Counter, decision: Decision) -> None:
    """Print one rule's counters, with a line per limit."""
    print(f"{shown(counter.rule)}  {shown(counter.identity)}")
    for verdict in decision.verdicts:
        wait = f"for {verdict.retry_after:.3f} s" if verdict.retry_after < math.inf else "always"
        state = "allowed" if verdict.allowed else f"REFUSES {wait}"
        print(f"  {verdict.limit}: {verdict.remaining} of {verdict.limit.max_cost} left, {state}, "
              f"resets in {verdict.reset_after:.3f} s")  # fmt: skip


def as_json(counter: Counter, decision: Decision) -> dict[str, Any]:
    """One rule's counters as JSON values; times are in seconds."""
    limits = [
        {
            "limit": str(verdict.limit),
            "allowed": verdict.allowed,
            "remaining": verdict.remaining,
            "most": verdict.limit.max_cost,
            "retry_after": verdict.retry_after if verdict.retry_after < math.inf else None,
            "reset_after": verdict.reset_after,
        }
        for verdict in decision.verdicts
    ]
    return {"rule": counter.rule, "key": counter.identity, "allowed": decision.allowed, "limits": limits}
