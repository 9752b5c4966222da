"""`ratelimit-kit reset KEY`: forget a client's hits, so that it has its whole quota again.

It does not ask for confirmation, because it can only admit more, and prints what it did. What another program has
stored under the client's keys is deleted too. A server that has just refused
the client may do so from memory for ten more seconds.
"""

from __future__ import annotations

import argparse
from typing import Any

from ratelimit_kit.cli import exits
from ratelimit_kit.cli.clients import KEYS, Counter, add_client, counters
from ratelimit_kit.cli.clients.inspect import as_json
from ratelimit_kit.cli.terminal import print_json, shown
from ratelimit_kit.core.decision import Decision
from ratelimit_kit.errors import StoreError
from ratelimit_kit.stores import Store
from ratelimit_kit.stores.denial_cache import MAX_SECONDS

EPILOG = f"""\
examples:
  ratelimit-kit reset 203.0.113.7 --policy ratelimit.toml
  ratelimit-kit reset user:42 --django --rule login
  ratelimit-kit reset user:42 --store redis://127.0.0.1:6379/0 --limit 100/minute --name api

{KEYS}
{exits.SAID}"""


def add_to(commands: Any) -> None:
    """Add the subcommand to a parser."""
    parser = commands.add_parser(
        "reset",
        help="forget a client's hits",
        description=__doc__,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_client(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Reset the client's counters, and print what was left before."""
    store, found = counters(options, shared=False)
    before = [(counter, _peeked(counter, store)) for counter in found]
    for counter, _ in before:
        store.reset(counter.charges)
    store.close()
    if options.json:
        print_json({"reset": [_as_json(counter, decision) for counter, decision in before]})
        return exits.FINE
    for counter, decision in before:
        print(f"{shown(counter.rule)}  {shown(counter.identity)}")
        if decision is None:
            print("  reset; what was under its key was not a counter")
            continue
        for verdict in decision.verdicts:
            print(f"  {verdict.limit}: reset; {verdict.remaining} of {verdict.limit.max_cost} were left")
        if not all(verdict.remaining for verdict in decision.verdicts):
            print(
                f"  a server that has just refused this client may do so for {MAX_SECONDS:g} more seconds (deny_cache)"
            )
    return exits.FINE


def _peeked(counter: Counter, store: Store) -> Decision | None:
    """What is left for the client; None if what is stored under its keys is not a counter."""
    try:
        return counter.peek(store)
    except StoreError as error:
        if type(error) is not StoreError:  # about the store
            raise
        return None


def _as_json(counter: Counter, decision: Decision | None) -> dict[str, Any]:
    if decision is None:
        return {"rule": counter.rule, "key": counter.identity, "allowed": None, "limits": []}
    return as_json(counter, decision)
