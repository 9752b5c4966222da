"""The result of a replay: counts, for people and for machines."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

from ratelimit_kit.cli.simulate.access_log import Hit, Malformed, said
from ratelimit_kit.cli.terminal import shown

MAX_SHOWN: Final = 5
"""Maximum number of malformed lines that are shown."""

MAX_WIDTH: Final = 100
"""Maximum number of characters of a malformed line that are shown."""


@dataclass(slots=True)
class Report:
    """The counts of a replay; `begin` and `now` are in seconds since the epoch."""

    requests: int = 0
    matched: int = 0
    denied: int = 0
    disordered: int = 0
    malformed: int = 0
    begin: int | None = None
    now: int = 0
    first: Hit | None = None
    by_limit: Counter[str] = field(default_factory=Counter)
    by_client: Counter[str] = field(default_factory=Counter)
    denied_by_client: Counter[str] = field(default_factory=Counter)
    shown: list[Malformed] = field(default_factory=list)

    def skip(self, line: Malformed) -> None:
        """Record a line that cannot be read as a request."""
        self.malformed += 1
        if len(self.shown) < MAX_SHOWN:
            self.shown.append(line)

    def meet(self, hit: Hit) -> None:
        """Record a request and its time."""
        self.requests += 1
        self.now = hit.time
        if self.begin is None:
            self.begin = hit.time

    def deny(self, hit: Hit, clients: set[str], limits: set[str]) -> None:
        """Record a refusal by these limits."""
        self.denied += 1
        self.first = self.first or hit
        self.denied_by_client.update(clients)
        self.by_limit.update(limits)

    def top(self, number: int) -> list[tuple[str, int, int]]:
        """The clients that would have been refused most: their key, their requests, their refusals."""
        return [(key, self.by_client[key], denied) for key, denied in self.denied_by_client.most_common(number)]

    def as_json(self, number: int) -> dict[str, Any]:
        """The report as JSON values; times are in seconds since the epoch."""
        return {
            "requests": self.requests,
            "matched": self.matched,
            "denied": self.denied,
            "clients": len(self.by_client),
            "clients_denied": len(self.denied_by_client),
            "begin": self.begin,
            "end": self.now if self.requests else None,
            "out_of_order": self.disordered,
            "malformed": self.malformed,
            "malformed_lines": [one._asdict() for one in self.shown],
            "denied_by_limit": dict(self.by_limit),
            "first_denied_line": self.first.number if self.first else None,
            "top": [{"key": key, "requests": hits, "denied": denied} for key, hits, denied in self.top(number)],
        }


def print_report(log: str, report: Report, top: int) -> None:
    """Print what was found, for people."""
    if report.requests:
        print(
            f"{shown(log)}: {_number(report.requests, 'request')} from {said(report.begin or 0)} to {said(report.now)}"
        )
        print(f"  judged       {report.matched}, of {_number(len(report.by_client), 'client')}")
        share = 100 * report.denied / report.matched if report.matched else 0.0
        print(f"  refused      {report.denied} ({share:.2f} %), of {_number(len(report.denied_by_client), 'client')}")
    for limit, denied in report.by_limit.most_common():
        print(f"  by           {limit}: {denied}")
    if report.first is not None:
        print(f"  first        line {report.first.number}, at {said(report.first.time)}")
    if report.disordered:
        print(f"  out of order {_number(report.disordered, 'line')}: judged in the order of their times")
    if report.malformed:
        print(f"  malformed    {_number(report.malformed, 'line')}, skipped:")
        for number, line, reason in report.shown:
            print(f"    line {number}: {reason}: {shown(line[:MAX_WIDTH])}")
    if report.denied_by_client and top > 0:
        print("\n  refused  requests  client")
        for key, hits, denied in report.top(top):
            print(f"  {denied:>7}  {hits:>8}  {shown(key)}")


def _number(count: int, what: str) -> str:
    return f"{count} {what}" + ("" if count == 1 else "s")
