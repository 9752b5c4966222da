"""Lines over time, as plain SVG: a panel under the other, each from zero to its own maximum."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

Panel = tuple[str, Sequence[float], Mapping[str, Sequence[float]]]
"""A title, the times, and the values by name."""

LEFT, WIDTH, HEIGHT, STEP = 70, 760, 110, 160
COLOURS = ("#0a7d5a", "#b4540a")


def lines(panels: Sequence[Panel], unit: str) -> str:
    """The picture of all panels."""
    height = STEP * len(panels) + 30
    body = "".join(_panel(panel, 30 + STEP * number) for number, panel in enumerate(panels))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 860 {height}" role="img" '
        f'font-family="system-ui, sans-serif" font-size="12"><title>A soak run</title>'
        f'<rect width="860" height="{height}" fill="#fff"/>{body}'
        f'<text x="{LEFT + WIDTH}" y="{height - 8}" text-anchor="end" fill="#1d2125">{escape(unit)}</text></svg>\n'
    )


def _panel(panel: Panel, top: int) -> str:
    title, times, series = panel
    most = max(max(values) for values in series.values()) * 1.1 or 1
    end = max(times) or 1
    parts = [f'<text x="{LEFT}" y="{top - 8}" font-weight="bold" fill="#1d2125">{escape(title)}</text>']
    for share in (0, 0.5, 1):
        y = top + HEIGHT * (1 - share)
        parts.append(f'<line x1="{LEFT}" x2="{LEFT + WIDTH}" y1="{y:.0f}" y2="{y:.0f}" stroke="#e3e6e9"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.0f}" text-anchor="end" fill="#1d2125">{most * share:.3g}</text>')
    for number, (name, values) in enumerate(series.items()):
        colour = COLOURS[number % len(COLOURS)]
        points = " ".join(
            f"{LEFT + WIDTH * at / end:.1f},{top + HEIGHT * (1 - value / most):.1f}"
            for at, value in zip(times, values, strict=True)
        )
        parts.append(f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        parts.append(f'<text x="{LEFT + 120 + 60 * number}" y="{top - 8}" fill="{colour}">{escape(name)}</text>')
    for share in (0, 0.25, 0.5, 0.75, 1):
        x = LEFT + WIDTH * share
        parts.append(
            f'<text x="{x:.0f}" y="{top + HEIGHT + 16}" text-anchor="middle" fill="#1d2125">{end * share:.2g}</text>'
        )
    return "".join(parts)
