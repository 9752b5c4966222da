"""`python -m benchmarks.guard_cost`: what the process guard costs a process; prints a Markdown table.

It is measured where processes run: in a script, in a gunicorn worker with a thousand open sockets, and in a Celery
worker, each with `Limiter("...")` as the README makes it. Times of hits are the least of many rounds, and CPU time is
the process's own. `--write FILE` writes the table to a file.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from benchmarks import floors
from benchmarks.place import Place, free_port
from ratelimit_kit import Limiter
from ratelimit_kit.guard import listening

HITS, ROUNDS = 5_000, 25

LOOKS = 9

SOCKETS = 500
"""Pairs of sockets that are open in gunicorn's worker."""

WATCHED_SECONDS, IDLE_SECONDS = 5.0, 3.0

UNTIL_CALM_SECONDS = 11.0

HEAD = (
    "| a process | first hit | a hit in the first 10 s | a hit after that | denied | "
    "a look: longest slice | in all | CPU per second, first 10 s | after that |\n|" + "---|" * 9
)


def main() -> None:
    """Measure in each place and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.guard_cost")
    parser.add_argument("--write", type=Path)
    parser.add_argument("--here", action="store_true", help="measure in this process and print JSON")
    chosen = parser.parse_args()
    if chosen.here:
        print(json.dumps(measured()))
        return
    text = "\n".join([HEAD, *(row(name, found) for name, found in places())]) + "\n"
    print(text)
    if chosen.write is not None:
        chosen.write.write_text(text, encoding="utf-8")


def places() -> Iterator[tuple[str, dict[str, float]]]:
    """What is measured in each place."""
    script = subprocess.run(
        [sys.executable, "-m", "benchmarks.guard_cost", "--here"], capture_output=True, text=True, check=True
    )
    yield "a script", json.loads(script.stdout)
    yield f"a gunicorn worker, {2 * SOCKETS:,} open sockets", in_gunicorn()
    with Place() as place:
        yield "a Celery worker (prefork)", in_celery(place.redis_url())


def row(name: str, found: dict[str, float]) -> str:
    """One line of the table."""
    cells = [
        name,
        f"{found['first'] * 1e3:.1f} ms",
        *(
            f"{found[hit] * 1e9:.0f} ns ({found[hit] / found[hit + ' floor']:.2f} x)"
            for hit in ("watched", "calm", "denied")
        ),
        f"{found['slice'] * 1e3:.2f} ms",
        f"{found['look'] * 1e3:.1f} ms",
        f"{found['cpu_watched'] * 1e3:.2f} ms",
        f"{found['cpu_calm'] * 1e3:.2f} ms",
    ]
    return f"| {' | '.join(cells)} |"


def measured() -> dict[str, float]:
    """What the guard costs this process, in seconds; takes about 20 seconds."""
    limiter = Limiter("token-bucket: 1000000000/second")
    refusing = Limiter("token-bucket: 1/hour", name="refusing")
    begun = time.perf_counter()
    limiter.hit("hot")
    first = time.perf_counter() - begun
    refusing.hit("hot")
    found = {"first": first, **beside("watched", limiter.hit, floors.bucket(1e9, 1e9))}
    found["cpu_watched"] = cpu(WATCHED_SECONDS)
    looks = [looked() for _ in range(LOOKS)]  # the best of several, as a slice may be interrupted by other processes
    found["slice"], found["look"] = min(map(max, looks)), min(map(sum, looks))
    time.sleep(max(0.0, begun + UNTIL_CALM_SECONDS - time.perf_counter()))
    found["cpu_calm"] = cpu(IDLE_SECONDS)
    denied = floors.bucket(1e-9, 1)
    denied("hot")
    return {
        **found,
        **beside("calm", limiter.hit, floors.bucket(1e9, 1e9)),
        **beside("denied", refusing.hit, denied),
    }


def beside(name: str, hit: Callable[[str], Any], floor: Callable[[str], Any]) -> dict[str, float]:
    """The seconds of one hit, and of one call of the closure by hand: each the best of many rounds, in turn."""
    best = [float("inf"), float("inf")]
    for _ in range(ROUNDS):
        for number, function in enumerate((hit, floor)):
            begun = time.perf_counter()
            for _ in range(HITS):
                function("hot")
            best[number] = min(best[number], (time.perf_counter() - begun) / HITS)
    return {name: best[0], f"{name} floor": best[1]}


def cpu(seconds: float) -> float:
    """The CPU time that this process takes in a second in which its own code sleeps."""
    begun, used = time.perf_counter(), time.process_time()
    time.sleep(seconds)
    return (time.process_time() - used) / (time.perf_counter() - begun)


def looked() -> list[float]:
    """The seconds of each slice of a look at this process's descriptors."""
    slices: list[float] = []
    begun = time.perf_counter()
    for address in listening.addresses():
        if address is None:
            slices.append(time.perf_counter() - begun)
            begun = time.perf_counter()
    return [*slices, time.perf_counter() - begun]


def application(_: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    """For gunicorn: the measurement, in a worker with many sockets."""
    with contextlib.ExitStack() as crowd:
        for _ in range(SOCKETS):
            for one in socket.socketpair():
                crowd.enter_context(one)
        body = json.dumps(measured()).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]


def in_gunicorn() -> dict[str, float]:
    """The measurement in a worker."""
    port = free_port()
    command = [sys.executable, "-m", "gunicorn", "--timeout", "120", "--bind", f"127.0.0.1:{port}", "benchmarks.guard_cost:application"]  # fmt: skip
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as server:
        try:
            return json.loads(answer(port))  # type: ignore[no-any-return]
        finally:
            server.terminate()


def answer(port: int) -> bytes:
    """The body of a server's answer, once it is up."""
    for _ in range(100):
        with contextlib.suppress(ConnectionError), contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=120)) as one:  # fmt: skip
            one.request("GET", "/")
            return one.getresponse().read()
        time.sleep(0.1)
    raise SystemExit("gunicorn did not start")


def in_celery(url: str) -> dict[str, float]:
    """The measurement in a task."""
    os.environ["BROKER_URL"] = url
    from benchmarks import guard_task

    command = [sys.executable, "-m", "celery", "-A", "benchmarks.guard_task", "worker", "--concurrency", "1"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as worker:
        try:
            return guard_task.measure.delay().get(timeout=120)  # type: ignore[no-any-return]
        finally:
            worker.terminate()


if __name__ == "__main__":
    main()
