"""Which processes are helpers of an application, and which are servers."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ratelimit_kit.guard import forks
from ratelimit_kit.guard.checks import per_request_limiters
from ratelimit_kit.guard.workers.count import Workers
from tests.guard import in_child


def test_who_was_not_forked_is_no_helper() -> None:
    assert forks.is_helper() == (multiprocessing.parent_process() is not None)


def test_a_forked_child_is_a_helper_until_its_parent_has_ended() -> None:
    assert in_child(forks.is_helper) == "True"

    def orphan() -> str:
        read, write = os.pipe()
        if os.fork() == 0:  # the daemon: its parent ends at once
            if os.fork() == 0:
                parent = forks._forked_from[0]
                while os.getppid() == parent:
                    pass
                os.write(write, str(forks.is_helper()).encode())
            os._exit(0)
        os.wait()
        return os.read(read, 10).decode()

    assert in_child(orphan) == repr("False")


@pytest.mark.parametrize("manager", ["its parent", "another process", "nobody"])
def test_a_server_s_worker_is_none(manager: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pid = {"its parent": os.getpid(), "another process": os.getppid(), "nobody": None}[manager]
    monkeypatch.setattr(forks, "detected", lambda: Workers(1, "one worker", manager=pid))
    assert in_child(forks.is_helper) == str(manager != "its parent")


def helps(connection: Any) -> None:
    connection.send(forks.is_helper())


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_whatever_multiprocessing_starts_is_a_helper(method: str) -> None:
    context = multiprocessing.get_context(method)
    here, there = context.Pipe()
    process = context.Process(target=helps, args=(there,))  # type: ignore[attr-defined]
    process.start()
    assert here.recv() is True
    process.join()


def test_a_child_forked_in_a_view_serves_nobody() -> None:
    def application(environ: dict[str, str], start_response: Any) -> str:
        assert forks.serves(policy=False)
        return in_child(lambda: (forks.serves(policy=True), per_request_limiters.within_request()))

    assert application({"wsgi.url_scheme": "http"}, print) == "(False, False)"


def test_a_child_that_gets_a_request_of_its_own_serves() -> None:
    def application(environ: dict[str, str], start_response: Any) -> bool:
        return forks.serves(policy=False)

    assert in_child(lambda: application({"wsgi.url_scheme": "http"}, print)) == "True"
    assert in_child(lambda: forks.serves(policy=False)) == "False"
    assert in_child(lambda: forks.serves(policy=True)) == "True"


@pytest.mark.parametrize("how", ["fork", "exec"])
def test_a_fork_before_the_import_is_told_from_a_program_that_is_started_again(how: str, tmp_path: Path) -> None:
    """RQ forks a child for each job, which imports the application; a reloader starts the same command once more."""
    program = tmp_path / "program.py"
    program.write_text(
        "import os, sys\n"
        "if 'AGAIN' in os.environ or os.fork() == 0:\n"
        f"    if {how!r} == 'exec' and 'AGAIN' not in os.environ:\n"
        "        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, 'AGAIN': '1'})\n"
        "    from ratelimit_kit.guard import forks\n"
        "    print(forks.is_helper())\n"
        "else:\n"
        "    os.wait()\n"
    )
    done = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, check=True)
    assert done.stdout == f"{how == 'fork'}\n"
