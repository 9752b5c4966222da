"""The lines of a log in the order of their times.

Servers write a line when a request ends, some with the time when it began, and rotated files are easily read the newest
first; a limit judged in that order would be wrong. So requests wait here until enough of later ones are known.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from heapq import heappush, heappushpop
from typing import Final

from ratelimit_kit.cli.simulate.access_log import Hit, Malformed, said
from ratelimit_kit.errors import OptionError

MAX_WAITING: Final = 100_000
"""How many requests wait, in some 60 MB. A log with fewer is sorted whatever its order."""

BEGINNING: Final = -(2**63)
"""A time (microseconds) before that of any line: the clock of a device may say 1969."""


class InOrder:
    """The requests and the malformed lines of a log, requests by their time; `disordered` counts those that came late."""

    def __init__(self, lines: Iterable[Hit | Malformed]) -> None:
        self.disordered = 0
        self._lines = lines

    def __iter__(self) -> Iterator[Hit | Malformed]:
        waiting: list[tuple[int, int, Hit]] = []
        latest = judged = BEGINNING
        for line in self._lines:
            if isinstance(line, Malformed):
                yield line
                continue
            self.disordered += line.time < latest
            latest = max(latest, line.time)
            if line.time < judged:
                raise _too_late(line, judged)
            if len(waiting) < MAX_WAITING:
                heappush(waiting, (line.time, line.number, line))
            else:
                judged, _, first = heappushpop(waiting, (line.time, line.number, line))
                yield first
        yield from (hit for _, _, hit in sorted(waiting))


def _too_late(line: Hit, judged: int) -> OptionError:
    return OptionError(
        f"line {line.number} of the log is of {said(line.time)}, and later ones, up to {said(judged)}, have been judged: "
        f"sort first, because lines are put in order over {MAX_WAITING} lines only. Rotated files are sorted with the oldest "
        "first: zcat -f $(ls -tr access.log*) | ratelimit-kit simulate - ..."
    )
