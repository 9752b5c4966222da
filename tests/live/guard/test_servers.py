"""The guard on every server: a setup with a wrong limit never serves, a correct one is never refused.

Cases that are not `common` are marked `servers`: `make test-servers` runs them all, and writes the
table of outcomes into the documentation if SERVER_TABLE names a file.
"""

from __future__ import annotations

import contextlib
import os
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live.servers import LIFESPAN, SEVERAL, SINGLE, Case
from tests.processes import Process, Response, free_port, need, request, running

pytestmark = pytest.mark.live

Rows = list[tuple[str, ...]]

HEAD = ("server", "workers given by", "refused", "exit status", "seconds", "lines printed")


def params(cases: list[Case]) -> list[object]:
    return [
        pytest.param(case, id=case.name.replace("`", ""), marks=() if case.common else pytest.mark.servers)
        for case in cases
    ]


@pytest.fixture(scope="module")
def rows() -> Iterator[Rows]:
    """The outcomes of refusals, in the order of the table."""
    found: Rows = []
    yield found
    target = os.environ.get("SERVER_TABLE")
    if target:
        order = {(case.server, case.given): number for number, case in enumerate(SEVERAL)}
        lines = [
            " | ".join(row) for row in [HEAD, ("---",) * len(HEAD), *sorted(found, key=lambda row: order[row[:2]])]
        ]
        Path(target).write_text("".join(f"| {line} |\n" for line in lines))


def answer(process: Process, path: str = "/", seconds: float = 15) -> Response:
    """The first response of a server that may not listen yet."""
    end = time.monotonic() + seconds
    while True:
        try:
            return request(process.port, path, method="GET" if path == "/" else "POST")
        except OSError:
            if process.popen.poll() is not None or time.monotonic() > end:
                raise AssertionError(f"no answer, exit status {process.popen.poll()}:\n{process.text()}") from None
            time.sleep(0.05)


@contextlib.contextmanager
def started(case: Case, **env: str) -> Iterator[Process]:
    if case.needs:
        need(case.needs)
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)  # Apache's children run as another user
        variables = {**case.env, **env, "TMPDIR": folder}
        with running(case.words(port), port, cwd=case.folder, env=variables, wait=False) as process:
            yield process


@pytest.mark.parametrize("case", params(SEVERAL))
def test_a_memory_store_under_several_workers_does_not_serve(case: Case, rows: Rows) -> None:
    begun = time.monotonic()
    with started(case) as process:
        if case.given == "2 processes":
            ended = one_of_two_goes(process)
        elif case.moment == LIFESPAN and case.status is None:
            ended = one_of_two_is_not_started(process)
        elif case.status is None:
            assert answer(process).status == 500
            ended = "answers 500"
        else:
            if case.server == "werkzeug":
                assert answer(process).status == 503
            status = process.wait_until_ended(case.seconds)
            assert status in {case.status, case.or_status}, process.text()
            ended = str(status) if status >= 0 else "ended by SIGTERM"
            with pytest.raises(ConnectionError):  # refused, or reset while the last child exits
                request(process.port)
        seconds, text = time.monotonic() - begun, process.text()
    assert "counts per process, and " in text
    assert case.found in text
    if case.status not in {None, 22}:
        assert text.count("[RLK20") == 1, text
    if "FastAPI" not in case.given or case.server != "hypercorn":  # it prints a traceback of every failed lifespan
        assert "Traceback" not in text or case.status in {None, 22}, text
    lines = [line for line in text.splitlines() if '"GET / HTTP' not in line]
    rows.append((case.server, case.given, case.moment, ended, f"{seconds:.1f}", str(len(lines))))


def one_of_two_goes(process: Process) -> str:
    """Two children share a socket; the second to get a request detects the first, refuses and exits."""
    process.wait_until_up()
    assert request(process.port, method="GET").status == 200
    statuses = []
    while 503 not in statuses:
        with socket.create_connection(("127.0.0.1", process.port)):  # keeps one of them from responding
            statuses.append(request(process.port, method="GET").status)
    while "ended with" not in process.text():
        time.sleep(0.02)
    text = process.text()
    assert text.count("[RLK202]") == 1, text
    assert "ended with -15" in text
    statuses = [request(process.port, method="GET").status for _ in range(30)]
    assert 200 not in statuses[10:]
    return "the second process ends"


def one_of_two_is_not_started(process: Process) -> str:
    """Two servers get the same socket: the second is refused, the first enforces its limit."""
    end = time.monotonic() + 15
    while "Application startup failed" not in process.text() and time.monotonic() < end:
        time.sleep(0.05)
    assert process.text().count("[RLK202]") == 1, process.text()
    statuses = [request(process.port, method="GET").status for _ in range(20)]
    assert statuses == [200] * 10 + [429] * 10
    return "the second process ends with 3"


@pytest.mark.parametrize("case", params(SINGLE))
def test_one_worker_starts_and_serves(case: Case) -> None:
    path = "/contact" if case.server == "runserver" else "/"
    with started(case, STORE_URL="memory://") as process:
        assert answer(process, path).status == 200
        statuses = [request(process.port, path, method="POST" if path != "/" else "GET").status for _ in range(19)]
        several = "--workers 2" in case.given
        text = allowed(process) if several else process.text()
    assert "RLK2" not in text
    assert several or statuses == [200] * 9 + [429] * 10, text


def allowed(process: Process, seconds: float = 15) -> str:
    """The output, once the first worker has logged the override: others may serve before that."""
    end = time.monotonic() + seconds
    while not any(
        word in process.text() for word in ("MemoryStore counts per process", "so MemoryStore is allowed although")
    ):
        assert time.monotonic() < end, process.text()
        time.sleep(0.05)
    return process.text()
