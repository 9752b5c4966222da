"""What commands print: text that cannot control the terminal, JSON, and progress during long work.

Keys, log lines and server responses come from strangers: none of it is printed before `shown` has made its control
characters visible. Progress goes to standard error, and only to a terminal: as a bar if rich is installed (the extra
`cli`), else as plain lines.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
from collections.abc import Callable, Iterator
from typing import Any

Advance = Callable[[int], None]
"""Called with the amount of work done since the last call."""


def shown(text: str) -> str:
    r"""The text on one line, with control characters spelt out: ESC as `\x1b`, a line feed as `\n`."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def shown_lines(text: str) -> str:
    """One of our own messages, which may have several lines, with what it quotes made safe."""
    return "\n".join(shown(line) for line in text.split("\n"))


def complain(text: str) -> None:
    """Print on standard error why a command did not do its work."""
    sys.stderr.write(f"ratelimit-kit: {shown_lines(text)}\n")


def print_json(value: Any) -> None:
    """Print as JSON; everything that is not ASCII is escaped."""
    print(json.dumps(value, indent=2))


def never_fail_to_print() -> None:
    """Let characters that standard output cannot encode come out escaped instead of as an exception."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


@contextlib.contextmanager
def progress(label: str, total: int | None) -> Iterator[Advance]:
    """Show the progress of some work; `total` is None if the amount is unknown."""
    if not sys.stderr.isatty():
        yield _unseen
        return
    try:
        from rich.console import Console
        from rich.markup import escape
        from rich.progress import Progress
    except ImportError:
        yield _Lines(label, total)
        return
    with Progress(console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task(escape(shown(label)), total=total)
        yield lambda done: bars.advance(task, done)


def _unseen(done: int) -> None:
    """Show nothing."""


class _Lines:
    """Progress without rich: a line at the start, and one for each tenth of the work."""

    def __init__(self, label: str, total: int | None) -> None:
        self._label = shown(label)
        self._total = total
        self._done = self._tenths = 0
        sys.stderr.write(f"{self._label} ...\n")

    def __call__(self, done: int) -> None:
        self._done += done
        tenths = 10 * self._done // self._total if self._total else 0
        if tenths > self._tenths:
            self._tenths = tenths
            sys.stderr.write(f"{self._label}: {tenths * 10} %\n")
