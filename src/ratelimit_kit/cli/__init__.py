"""The command line, `ratelimit-kit`: one subcommand per file."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from importlib.metadata import version

from ratelimit_kit.cli import check, demo


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a subcommand; returns the exit status."""
    parser = argparse.ArgumentParser(prog="ratelimit-kit", description="Rate limiting that means what it says.")
    parser.add_argument("--version", action="version", version=f"ratelimit-kit {version('ratelimit-kit')}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    demo.add_to(commands)
    check.add_to(commands)
    options = parser.parse_args(arguments)
    status: int = options.run(options)
    return status
