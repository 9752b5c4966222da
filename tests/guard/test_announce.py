"""Of workers that fail together, only the first prints the message."""

from __future__ import annotations

import os

import pytest

from ratelimit_kit.guard import announce, claims


def children(count: int, message: str = "no") -> list[int]:
    """The result in each of several children of this process that run together: 1 for the first to print the message."""
    pids = []
    done, all_have_asked = os.pipe(), os.pipe()
    for _ in range(count):
        pid = os.fork()
        if pid == 0:
            answer = {True: 1, False: 0, None: 2}[announce.is_first(message)]
            os.write(done[1], b"x")
            os.close(all_have_asked[1])
            os.read(all_have_asked[0], 1)
            os._exit(answer)
        pids.append(pid)
    for _ in pids:
        os.read(done[0], 1)
    os.close(all_have_asked[1])
    answers = sorted(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids)
    for descriptor in (*done, all_have_asked[0]):
        os.close(descriptor)
    return answers


def test_of_the_children_of_one_parent_one_speaks() -> None:
    assert children(8) == [0] * 7 + [1]
    assert children(2, "something else") == [0, 1]


def test_at_another_start_the_same_is_said_again() -> None:
    assert children(2) == [0, 1]
    assert children(2) == [0, 1]


def test_without_proof_they_cannot_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_proof(*identity: str) -> None:
        raise claims.NoProofError("no")

    monkeypatch.setattr(claims, "claim", no_proof)
    assert announce.is_first("no") is None
