"""Draws the picture of the README from a real run: gunicorn with four workers, one Redis, one limit.

    python -m scripts.draw_picture docs/images/four-workers.svg

Each mark is a request, in the lane of the worker that has answered it; the curve is what was admitted in the
last five seconds, which never exceeds the limit.
"""

from __future__ import annotations

import random
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from tests.processes import free_port, python_program, redis_server, request, running

SECONDS, PER_SECOND, LIMIT, WINDOW = 20.0, 5.0, 10, 5.0
WIDTH, LANE, LEFT, TOP, CURVE = 760, 30, 92, 46, 84
ADMITTED, DENIED, INK, QUIET = "#1a7f37", "#cf222e", "#57606a", "#8c959f"


class Mark(NamedTuple):
    """A request: when it was answered, by which worker, and whether it was admitted."""

    at: float
    worker: str
    admitted: bool


def run() -> list[Mark]:
    """Send requests at random moments, many at once, and note each answer."""
    port = free_port()
    command = [python_program("gunicorn"), "--workers", "4", "--log-level", "warning", "--bind", f"127.0.0.1:{port}"]
    with redis_server() as redis:
        environment = {"STORE_URL": redis.url()}
        with running([*command, "picture_app:application"], port, cwd=Path(__file__).parent, env=environment):
            while len({request(port, "/ready").headers["x-worker"] for _ in range(40)}) < 4:
                time.sleep(0.1)
            chance = random.Random(7)
            moments = sorted(chance.uniform(0.3, SECONDS) for _ in range(int(SECONDS * PER_SECOND)))
            begun = time.monotonic()
            with ThreadPoolExecutor(8) as pool:
                return list(pool.map(lambda moment: _ask(port, begun, moment), moments))


def _ask(port: int, begun: float, moment: float) -> Mark:
    time.sleep(max(0.0, begun + moment - time.monotonic()))
    answer = request(port)
    return Mark(time.monotonic() - begun, answer.headers["x-worker"], answer.status == 200)


def draw(marks: list[Mark]) -> str:
    """The picture as SVG; it reads on a light and on a dark page."""
    workers = sorted({mark.worker for mark in marks})
    floor = TOP + LANE * len(workers)
    height = floor + CURVE + 44
    admitted = sum(mark.admitted for mark in marks)
    title = f"10 in any 5 seconds, across four gunicorn workers: {len(marks)} requests, {admitted} admitted"
    opening = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{title}" '
        'font-family="system-ui, sans-serif" font-size="13">'
    )
    parts = [
        opening,
        f'<rect width="{WIDTH}" height="{height}" rx="6" fill="#ffffff" stroke="#d0d7de"/>',
        f'<text x="14" y="26" fill="#1f2328" font-weight="600">{title}</text>',
    ]
    for number, worker in enumerate(workers):
        y = TOP + LANE * number + LANE / 2
        parts.append(f'<text x="14" y="{y + 4:.0f}" fill="{INK}">worker {number + 1}</text>')
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - 16}" y1="{y}" y2="{y}" stroke="#eaeef2"/>')
        parts += [_mark(mark, y) for mark in marks if mark.worker == worker]
    parts += _curve(marks, floor + 14)
    parts.append(_legend(height - 14))
    return "\n".join([*parts, "</svg>"]) + "\n"


def _x(at: float) -> float:
    return LEFT + at / SECONDS * (WIDTH - LEFT - 16)


def _mark(mark: Mark, y: float) -> str:
    x = _x(mark.at)
    if mark.admitted:
        return f'<circle cx="{x:.1f}" cy="{y}" r="4.5" fill="{ADMITTED}"/>'
    arms = f"M{x - 4:.1f} {y - 4}l8 8m0 -8l-8 8"
    return f'<path d="{arms}" stroke="{DENIED}" stroke-width="1.8" fill="none"/>'


def _curve(marks: list[Mark], top: float) -> list[str]:
    """How many were admitted in the window before each moment, and the limit above it."""
    times = [mark.at for mark in marks if mark.admitted]
    changes = sorted([*times, *(at + WINDOW for at in times)])
    unit = (CURVE - 14) / LIMIT
    bottom = top + CURVE - 4
    points = [f"M{_x(0):.1f} {bottom:.1f}"]
    for at in changes:
        if at > SECONDS:
            break
        count = sum(at - WINDOW < one <= at for one in times)
        points.append(f"H{_x(at):.1f}V{bottom - count * unit:.1f}")
    line = bottom - LIMIT * unit
    return [
        f'<text x="14" y="{line + 4:.0f}" fill="{INK}">limit 10</text>',
        f'<text x="14" y="{bottom - 18:.0f}" fill="{QUIET}">admitted in</text>',
        f'<text x="14" y="{bottom - 3:.0f}" fill="{QUIET}">the last 5 s</text>',
        f'<line x1="{LEFT}" x2="{WIDTH - 16}" y1="{line}" y2="{line}" stroke="{DENIED}" stroke-dasharray="5 4"/>',
        f'<path d="{"".join(points)}H{_x(SECONDS):.1f}V{bottom}H{LEFT}Z" fill="{ADMITTED}" fill-opacity="0.16" stroke="{ADMITTED}"/>',
    ]


def _legend(y: float) -> str:
    return (
        f'<text x="{LEFT}" y="{y}" fill="{INK}"><tspan fill="{ADMITTED}">&#9679;</tspan> admitted  '
        f'<tspan dx="14" fill="{DENIED}">&#10005;</tspan> answered 429  '
        f'<tspan dx="14" fill="{QUIET}">20 seconds of a real run; drawn by scripts/draw_picture.py</tspan></text>'
    )


if __name__ == "__main__":
    found = run()
    Path(sys.argv[1]).write_text(draw(found), encoding="utf-8")
    windows = max(sum(mark.at <= one.at < mark.at + WINDOW and one.admitted for one in found) for mark in found)
    print(
        f"{len(found)} requests, {sum(mark.admitted for mark in found)} admitted, at most {windows} in any {WINDOW:g} s"
    )
