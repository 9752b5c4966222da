"""The report: one Markdown table a scenario, a table of promises, and a chart of the ratios."""

from __future__ import annotations

import os
import platform
import sys
from functools import partial
from importlib.metadata import version
from pathlib import Path

from benchmarks.chart import chart
from benchmarks.harness import Contestant, Scenario

PACKAGES = ["limits", "throttled-py", "pyrate-limiter", "django-ratelimit", "flask-limiter", "slowapi", "redis"]


class Report:
    """Collects scenarios; `kept` says whether every promise was."""

    def __init__(self, rounds: int) -> None:
        self._rounds = rounds
        self._done: list[tuple[Scenario, list[Contestant]]] = []
        self.kept = True

    def add(self, scenario: Scenario, contestants: list[Contestant]) -> str:
        """Take a scenario's result, and return its table."""
        self._done.append((scenario, contestants))
        self.kept = self.kept and all(kept(scenario, one, contestants[0]) is not False for one in contestants)
        return table(scenario, contestants)

    def write(self, folder: Path) -> None:
        """Write results.md and results.svg."""
        folder.mkdir(exist_ok=True)
        tables = "\n".join(table(scenario, contestants) for scenario, contestants in self._done)
        (folder / "results.md").write_text(f"{self._conditions()}\n\n{self._promises()}\n\n{tables}", encoding="utf-8")
        (folder / "results.svg").write_text(chart(self._done), encoding="utf-8")

    def _conditions(self) -> str:
        packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
        return (
            f"Measured with Python {platform.python_version()} on {os.cpu_count()} cores ({platform.machine()}, "
            f"{sys.platform}), {self._rounds} interleaved rounds; {packages}. "
            "Ratios are medians over the rounds, each to the floor of the same round."
        )

    def _promises(self) -> str:
        lines = ["| promise | at most | measured | best peer | kept |", "|---|---|---|---|---|"]
        for scenario, contestants in self._done:
            floor = contestants[0]
            peers = [one for one in contestants if one.kind == "peer"]
            best = min(peers, key=partial(_value_of, scenario, floor), default=None)
            for one in contestants:
                if one.at_most is not None:
                    unit = one.unit or scenario.unit or "x floor"
                    lines.append(
                        f"| {scenario.title}: {one.name} | {one.at_most:g} {unit} | {_figure(scenario, one, floor)} | "
                        f"{'' if best is None else _figure(scenario, best, floor)} | {'yes' if kept(scenario, one, floor) else 'no'} |"
                    )
        return "\n".join(lines)


def kept(scenario: Scenario, one: Contestant, floor: Contestant) -> bool | None:
    """Whether a promise was kept; None where none was made."""
    if one.at_most is None:
        return None
    return value(scenario, one, floor) <= one.at_most


def value(scenario: Scenario, one: Contestant, floor: Contestant) -> float:
    """What the promise speaks of: the ratio, or the median, or what came on top of the floor."""
    if one.unit:
        return one.quantile(0.5) * UNITS[one.unit]
    if not scenario.unit:
        return one.ratio(floor)
    return (one.quantile(0.5) - floor.quantile(0.5)) * UNITS[scenario.unit]


def _value_of(scenario: Scenario, floor: Contestant, one: Contestant) -> float:
    return value(scenario, one, floor)


UNITS = {"us": 1e6, "ms": 1e3, "%": 100.0, "commands": 1.0}


def _figure(scenario: Scenario, one: Contestant, floor: Contestant) -> str:
    found = value(scenario, one, floor)
    unit = one.unit or scenario.unit
    return f"{found:.1f} {unit}" if unit else f"{found:.2f} x"


def table(scenario: Scenario, contestants: list[Contestant]) -> str:
    """One scenario as a Markdown table."""
    floor = contestants[0]
    note = f"{scenario.note[0].upper()}{scenario.note[1:]}.\n\n" if scenario.note else ""
    write = {"commands": "{:g}".format, "%": "{:.1%}".format}.get(scenario.unit, span)
    lines = ["| | p50 | p99 | x floor | promise |", "|---|---|---|---|---|"]
    for one in contestants:
        name = {"ours": f"**ratelimit-kit**, {one.name}", "floor": f"floor: {one.name}", "peer": one.name}[one.kind]
        ratio = f"{one.ratio(floor):.2f}" if one.ratio(floor) else ""
        middle, late = write(one.quantile(0.5)), write(one.quantile(0.99))
        lines.append(f"| {name} | {middle} | {late} | {ratio} | {_promise(scenario, one, floor)} |")
    return f"### {scenario.title}\n\n{note}" + "\n".join(lines) + "\n"


def _promise(scenario: Scenario, one: Contestant, floor: Contestant) -> str:
    if one.at_most is None:
        return ""
    unit = one.unit or scenario.unit
    word = "kept" if kept(scenario, one, floor) else "**not kept**"
    return f"<= {one.at_most:g}{' ' if unit else ''}{unit}, {word}"


def span(seconds: float) -> str:
    """Seconds in the unit that suits them."""
    if seconds < 1e-3:
        return f"{seconds * 1e6:.2f} us"
    return f"{seconds * 1e3:.2f} ms" if seconds < 1 else f"{seconds:.2f} s"
