"""`python -m benchmarks [--quick] [--only WORD] [--write FOLDER]`: run the scenarios and report."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import benchmarks.scenarios  # noqa: F401 - enters the scenarios
from benchmarks.harness import SCENARIOS, run
from benchmarks.place import Place
from benchmarks.report import Report


def main() -> int:
    """Run, print, and write results.md and the chart where asked to; 1 when a promise was not kept."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("--quick", action="store_true", help="three short rounds, under two minutes in all")
    parser.add_argument("--smoke", action="store_true", help="one round of next to nothing: whether all of them run")
    parser.add_argument("--only", default="", help="scenarios whose name contains this")
    parser.add_argument("--rounds", type=int, help="default 9, or 3 when quick")
    parser.add_argument("--write", type=Path, help="the folder for results.md and results.svg")
    chosen = parser.parse_args()
    rounds = chosen.rounds or (1 if chosen.smoke else 3 if chosen.quick else 9)
    seconds = 0.01 if chosen.smoke else 0.05 if chosen.quick else 0.4
    report = Report(rounds)
    for scenario in SCENARIOS:
        if chosen.only in scenario.name:
            with Place(keys=10_000 if chosen.smoke else 1_000_000) as place:
                contestants = run(scenario, place, rounds=rounds, seconds=seconds)
            print(report.add(scenario, contestants), flush=True)
    if chosen.write is not None:
        report.write(chosen.write)
    return 0 if report.kept or chosen.smoke else 1


if __name__ == "__main__":
    sys.exit(main())
