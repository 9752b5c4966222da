"""Of workers that fail together, only the first prints the message."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ratelimit_kit.guard import announce, socket_locks


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket_locks.tempfile, "gettempdir", lambda: str(tmp_path))


def children(count: int, message: str = "no") -> list[int]:
    """The result in each of several children of this process: 1 for the first to print the message."""
    pids = []
    for _ in range(count):
        pid = os.fork()
        if pid == 0:
            os._exit({True: 1, False: 0, None: 2}[announce.is_first(message)])
        pids.append(pid)
    return sorted(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids)


def test_of_the_children_of_one_parent_one_speaks() -> None:
    assert children(8) == [0] * 7 + [1]
    assert children(2) == [0, 0]
    assert children(2, "something else") == [0, 1]


def test_at_another_start_the_same_is_said_again(monkeypatch: pytest.MonkeyPatch) -> None:
    assert children(2) == [0, 1]
    monkeypatch.setattr(announce, "_birth", lambda _: "another")  # a new parent that reuses the pid of an earlier one
    assert children(2) == [0, 1]
    monkeypatch.setattr(announce, "REPEAT_SECONDS", 0.0)
    assert children(1) == [1]


def test_without_a_folder_they_cannot_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket_locks, "own_folder", lambda: None)
    assert announce.is_first("no") is None
