"""The command line, `ratelimit-kit`: one subcommand per file.

Each subcommand has `add_to(commands)` and `run(options)`, which returns one of the statuses of `exits`.
Errors of the library are printed here, as one sentence on standard error.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib.metadata import version

from ratelimit_kit.cli import check, demo, doctor, exits, simulate, verify
from ratelimit_kit.cli.clients import inspect, reset
from ratelimit_kit.cli.terminal import complain, never_fail_to_print
from ratelimit_kit.errors import ConfigurationError, CostError, RateLimitKitError, StartupRefused

EPILOG = f"""\
the steps of a deployment:
  ratelimit-kit check ratelimit.toml --workers 4      would a server start with this file?
  ratelimit-kit doctor ratelimit.toml --workers 4     does the store do what the limits need?
  ratelimit-kit verify https://example.org/ --limit 100
                                                      does the running site hold its limit?
  ratelimit-kit inspect 203.0.113.7 --policy ratelimit.toml
                                                      where does this client stand?
  ratelimit-kit simulate access.log --limit 100/minute
                                                      whom would this limit have refused?

{exits.SAID}"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a subcommand; returns the exit status."""
    never_fail_to_print()
    options = parser().parse_args(arguments)
    try:
        status: int = options.run(options)
        sys.stdout.flush()
    except RateLimitKitError as error:
        complain(str(error))
        return exits.USAGE if _is_a_misunderstanding(error) else exits.FAILED
    except KeyboardInterrupt:
        return exits.INTERRUPTED
    except BrokenPipeError:  # `| head` has closed the pipe; the rest of the buffer must not raise again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return exits.FINE
    return status


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    whole = argparse.ArgumentParser(
        prog="ratelimit-kit",
        description="Rate limiting that means what it says: prove it, watch it, and see whom it refuses.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    whole.add_argument("--version", action="version", version=f"ratelimit-kit {version('ratelimit-kit')}")
    commands = whole.add_subparsers(dest="command", required=True, metavar="command")
    for command in (check, doctor, verify, inspect, reset, simulate, demo):
        command.add_to(commands)
    return whole


def _is_a_misunderstanding(error: RateLimitKitError) -> bool:
    return isinstance(error, ConfigurationError | CostError) and not isinstance(error, StartupRefused)
