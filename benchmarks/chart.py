"""The chart: one row of bars a scenario, on a logarithmic axis, as plain SVG."""

from __future__ import annotations

import math
from html import escape

from benchmarks.harness import Contestant, Scenario

LEFT, RIGHT, BAR, GAP = 330, 720, 14, 26
COLOURS = {"ours": "#0a7d5a", "peer": "#9aa3ad", "floor": "#c9ced4"}
TICKS = (0.03, 0.1, 0.3, 1, 3, 10, 30, 100)


def chart(done: list[tuple[Scenario, list[Contestant]]]) -> str:
    """Ratios to the floor of all scenarios that are compared with one."""
    parts: list[str] = []
    y = 60
    for scenario, contestants in done:
        if scenario.unit:
            continue
        parts.append(_text(12, y, scenario.title, weight="bold"))
        y += GAP - 8
        for one in contestants[1:]:
            parts.append(_bar(y, one, one.ratio(contestants[0])))
            y += BAR + 5
        y += GAP - 6
    axis = "".join(
        f'<line x1="{_x(tick):.0f}" x2="{_x(tick):.0f}" y1="42" y2="{y - 20}" stroke="{"#444" if tick == 1 else "#e3e6e9"}"/>'
        + _text(_x(tick), 34, f"{tick:g}", anchor="middle")
        for tick in TICKS
    )
    title = _text(12, 16, "Cost of a decision, as a multiple of the floor (1): less is better", weight="bold")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 860 {y}" role="img" '
        f'font-family="system-ui, sans-serif" font-size="12"><title>Cost of a decision</title>'
        f'<rect width="860" height="{y}" fill="#fff"/>{title}{axis}{"".join(parts)}</svg>\n'
    )


def _x(ratio: float) -> float:
    low, high = math.log(0.02), math.log(150)
    return LEFT + (RIGHT - LEFT) * (math.log(min(max(ratio, 0.02), 150)) - low) / (high - low)


def _bar(y: int, one: Contestant, ratio: float) -> str:
    name = f"ratelimit-kit, {one.name}" if one.kind == "ours" else one.name
    return (
        _text(LEFT - 8, y + 11, name, anchor="end", weight="bold" if one.kind == "ours" else "normal")
        + f'<rect x="{LEFT}" y="{y}" width="{_x(ratio) - LEFT:.1f}" height="{BAR}" fill="{COLOURS[one.kind]}"/>'
        + _text(_x(ratio) + 6, y + 11, f"{ratio:.2f}")
    )


def _text(x: float, y: float, words: str, *, anchor: str = "start", weight: str = "normal") -> str:
    return (
        f'<text x="{x:.0f}" y="{y}" text-anchor="{anchor}" font-weight="{weight}" fill="#1d2125">{escape(words)}</text>'
    )
