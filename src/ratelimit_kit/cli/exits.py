"""Exit statuses, the same for every subcommand, and their help text."""

from __future__ import annotations

from typing import Final

FINE: Final = 0
"""All is well, or the command did its work."""

FOUND: Final = 1
"""Something needs to be fixed: a check failed, a limit does not hold, a client is refused now."""

USAGE: Final = 2
"""The command line, or a file that it names, cannot be understood (argparse uses it too)."""

FAILED: Final = 3
"""The command could not do its work: the store or the site does not reply, or refuses."""

INTERRUPTED: Final = 130
"""Ctrl+C."""

SAID: Final = """\
exit status:
  0  all is well, or done
  1  something was found: a check failed, a limit does not hold, a client is refused
  2  the command line, or a file that it names, cannot be understood
  3  the command could not do its work: the store or the site does not reply
     (for check and doctor, such a file or store is a finding: 1)
"""
