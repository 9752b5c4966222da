"""Socket locks between real processes that share a listening socket."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ratelimit_kit.guard import socket_locks


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(socket_locks, "_held", {})
    monkeypatch.setattr(socket_locks, "_sockets", set())
    monkeypatch.setattr(socket_locks, "_listens", lambda pid, address: True)
    yield
    socket_locks._forget()


def in_child(work: Callable[[], object]) -> str:
    """The result of `work` in a forked child, as text."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, repr(work()).encode())
        os._exit(0)
    os.close(write)
    os.waitpid(child, 0)
    with os.fdopen(read, "rb") as answer:
        return answer.read().decode()


def test_only_listening_sockets_have_addresses(tmp_path: Path) -> None:
    before = socket_locks.listening_addresses()
    with (
        socket.socket() as plain,
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.socket(socket.AF_UNIX) as local,
    ):
        plain.bind(("127.0.0.1", 0))
        local.bind(str(tmp_path / "socket"))
        local.listen()
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            assert set(socket_locks.listening_addresses()) - set(before) == {
                f"127.0.0.1:{port}",
                str(tmp_path / "socket"),
            }
    assert socket_locks.listening_addresses() == before


def test_a_forked_sibling_cannot_have_the_lock_and_learns_who_has_it() -> None:
    assert socket_locks.on_the_same_socket(["127.0.0.1:1"]) is None
    assert socket_locks.on_the_same_socket(["127.0.0.1:1"]) is None  # its own lock
    assert in_child(lambda: socket_locks.on_the_same_socket(["127.0.0.1:1"])) == repr(
        socket_locks.Sibling(os.getpid(), os.getppid(), "127.0.0.1:1")
    )
    assert in_child(lambda: socket_locks.on_the_same_socket(["127.0.0.1:2"])) == "None"


def test_the_lock_goes_with_its_process() -> None:
    assert in_child(lambda: socket_locks.on_the_same_socket(["127.0.0.1:1"])) == "None"
    assert socket_locks.on_the_same_socket(["127.0.0.1:1"]) is None


def test_a_child_that_ends_leaves_the_parents_lock_alone() -> None:
    assert socket_locks.on_the_same_socket(["127.0.0.1:1"]) is None
    in_child(lambda: socket_locks.on_the_same_socket(["127.0.0.1:3"]))
    assert in_child(lambda: socket_locks.on_the_same_socket(["127.0.0.1:1"])) != "None"


def test_the_lock_goes_with_its_address() -> None:
    """A thousand test servers in one process, each on a port of its own, hold one lock."""
    for port in range(1, 1001):
        assert socket_locks.on_the_same_socket([f"127.0.0.1:{port}"]) is None
    assert len(socket_locks._held) == 1
    assert in_child(lambda: socket_locks.on_the_same_socket(["127.0.0.1:1"])) == "None"
    assert in_child(lambda: socket_locks.on_the_same_socket(["127.0.0.1:1000"])) != "None"


def test_another_command_of_the_same_parent_is_no_sibling(monkeypatch: pytest.MonkeyPatch) -> None:
    code = (
        "import sys, os; from ratelimit_kit.guard import socket_locks\n"
        "print(socket_locks.on_another_port()); sys.stdout.flush(); sys.stdin.read()"
    )

    def start(*words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", code, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "TMPDIR": str(socket_locks.tempfile.gettempdir())},
        )

    children = [start("--port", "8001")]
    answers = []
    try:
        assert children[0].stdout is not None
        answers.append(children[0].stdout.readline().strip())
        for words in (["--port", "8002"], ["--app", "other"]):
            children.append(start(*words))
            stdout = children[-1].stdout
            assert stdout is not None
            answers.append(stdout.readline().strip())
    finally:
        for child in children:
            child.communicate("")
    assert answers == ["None", f"Sibling(pid={children[0].pid}, parent={os.getpid()}, where='another port')", "None"]


def test_looking_at_sockets_leaves_them_as_they_are() -> None:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(30)
    try:
        with socket.create_server(("127.0.0.1", 0)) as server:
            server.setblocking(True)
            socket_locks.listening_addresses()
            assert os.get_blocking(server.fileno())
    finally:
        socket.setdefaulttimeout(before)


def test_a_process_that_listens_no_more_is_no_sibling(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        assert socket_locks._listens(os.getpid(), address)
    assert not socket_locks._listens(os.getpid(), address)


def test_without_any_folder_there_is_no_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere() -> str:
        raise FileNotFoundError

    monkeypatch.setattr("tempfile.gettempdir", nowhere)
    assert socket_locks.on_the_same_socket(["127.0.0.1:1"]) is None


@pytest.mark.parametrize("trouble", ["open", "file", "link"])
def test_a_folder_that_cannot_be_trusted_holds_no_lock(trouble: str, tmp_path: Path) -> None:
    folder = tmp_path / f"ratelimit_kit-{os.getuid()}"
    if trouble == "open":
        folder.mkdir()
        folder.chmod(0o777)
    elif trouble == "file":
        folder.touch()
    else:
        (tmp_path / "elsewhere").mkdir(0o700)
        folder.symlink_to(tmp_path / "elsewhere")
    assert socket_locks.on_the_same_socket(["127.0.0.1:1"]) is None
    assert in_child(lambda: socket_locks.on_the_same_socket(["127.0.0.1:1"])) == "None"
    assert not socket_locks._held
