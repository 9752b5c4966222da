"""Names that one process at a time can hold, between real processes, by sockets and by files."""

from __future__ import annotations

import errno
import os
import resource
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Timer
from typing import Any

import pytest

from ratelimit_kit.guard import claims
from ratelimit_kit.guard.claims import Holder, NoProofError
from tests.guard import in_child


@pytest.fixture(params=["socket", "file"])
def way(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(claims, "_take", claims._by_socket if request.param == "socket" else claims._by_file)
    monkeypatch.setattr(claims, "_held", {})
    yield request.param
    claims._release_all()


@pytest.mark.usefixtures("way")
def test_a_child_cannot_have_the_name_and_learns_who_has_it() -> None:
    assert claims.claim("name") is None
    assert claims.claim("name") is None  # its own
    assert in_child(lambda: claims.claim("name")) == repr(Holder(os.getpid(), os.getppid()))
    assert in_child(lambda: claims.claim("another")) == "None"


@pytest.mark.usefixtures("way")
def test_the_name_goes_with_its_process() -> None:
    assert in_child(lambda: claims.claim("name")) == "None"
    assert claims.claim("name") is None


@pytest.mark.usefixtures("way")
def test_a_child_that_ends_leaves_the_parents_name_alone() -> None:
    assert claims.claim("name") is None
    in_child(lambda: claims.claim("another"))
    assert in_child(lambda: claims.claim("name")) != "None"


@pytest.mark.usefixtures("way")
def test_a_name_is_let_go() -> None:
    assert claims.claim("name") is None
    claims.release("name")
    claims.release("name")
    assert in_child(lambda: claims.claim("name")) == "None"


def hold(*identity: str) -> subprocess.Popen[str]:
    """Another process that holds a name until it is killed."""
    code = f"from ratelimit_kit.guard import claims\nprint(claims.claim(*{identity!r}), flush=True)\ninput()"
    return subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_a_process_that_is_killed_leaves_its_name_although_a_child_of_it_runs() -> None:
    code = (
        "import os, time\nfrom ratelimit_kit.guard import claims\nclaims.claim('killed')\n"
        "if os.fork() == 0:\n    print('forked', flush=True)\ntime.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, process_group=0) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        assert claims.claim("killed") == Holder(holder.pid, os.getpid())
        holder.kill()
        holder.wait()
        try:
            assert claims.claim("killed") is None
        finally:
            claims.release("killed")
            os.killpg(holder.pid, 9)


def test_nothing_lies_in_a_file_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with hold("name in no folder") as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "None\n"
        assert list(tmp_path.iterdir()) == []
        holder.communicate("")


def test_a_file_is_removed_by_who_has_held_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(claims, "_take", claims._by_file)
    monkeypatch.setattr(claims, "_held", {})
    assert claims.claim("name") is None
    folder = claims.own_folder()
    assert len(list(folder.iterdir())) == 1
    assert in_child(lambda: None) == "None"
    assert len(list(folder.iterdir())) == 1  # a child lets go, and does not remove what its parent holds
    claims._release_all()
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("told", [True, False], ids=["listens", "does-not-listen"])
def test_a_name_that_another_user_has_taken_proves_nothing(told: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "_held", {})
    with socket.socket(socket.AF_UNIX) as squatter:
        squatter.bind(f"\0{claims.PREFIX}{claims._name(('name',))}")
        if told:
            squatter.listen()
            monkeypatch.setattr(claims.struct, "unpack", lambda form, raw: (4711, os.geteuid() + 1, 0))
        with pytest.raises(
            NoProofError, match=rf"user {os.geteuid() + 1} holds the name" if told else "leaving the name"
        ):
            claims.claim("name")


def test_without_a_descriptor_there_is_no_proof(monkeypatch: pytest.MonkeyPatch) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, before[1]))
    try:
        with pytest.raises(NoProofError, match=os.strerror(errno.EMFILE)):
            claims.claim("no descriptor")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_where_sockets_have_no_names_files_are_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(claims, "PREFIX", "x" * 200)  # too long: no socket can have it
    assert claims.claim("by file") is None
    assert [path.name for path in claims.own_folder().iterdir()] == [claims._name(("by file",))]
    claims.release("by file")


def make_open(folder: Path) -> None:
    folder.mkdir()
    folder.chmod(0o777)


def make_link(folder: Path) -> None:
    elsewhere = folder.with_name("elsewhere")
    elsewhere.mkdir(0o700)
    folder.symlink_to(elsewhere)


@pytest.mark.parametrize("make", [make_open, Path.touch, make_link], ids=["open", "file", "link"])
def test_a_folder_that_cannot_be_trusted_proves_nothing(
    make: Callable[[Path], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    make(tmp_path / f"ratelimit_kit-{os.getuid()}")
    with pytest.raises(NoProofError, match="is not a folder of this user alone"):
        claims._by_file("name")


def test_without_any_folder_there_is_no_proof(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere() -> str:
        raise FileNotFoundError

    monkeypatch.setattr("tempfile.gettempdir", nowhere)
    with pytest.raises(NoProofError, match="no folder for temporary files"):
        claims._by_file("name")


def test_who_asks_again_and_again_stands_in_the_queue_once() -> None:
    """Nobody accepts, so a queue that grew with every look would be full after an hour, and the holder unknown."""
    with hold("queue") as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        try:
            for _ in range(5000):
                assert claims.claim("queue") == Holder(holder.pid, os.getpid())
        finally:
            holder.communicate("\n")
    assert claims.claim("queue") is None
    claims.release("queue")


def test_a_holder_that_is_asked_for_its_own_name_empties_its_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "_held", {})
    assert claims.claim("emptied") is None
    address = f"\0{claims.PREFIX}{claims._name(('emptied',))}"
    for _ in range(3):
        with socket.socket(socket.AF_UNIX) as other:
            other.connect(address)
        assert claims.claim("emptied") is None
    with socket.socket(socket.AF_UNIX) as other:
        other.connect(address)
        claims.claim("emptied")
        assert other.recv(1) == b""
    claims._release_all()


@pytest.mark.usefixtures("way")
def test_a_descriptor_that_the_application_has_closed_is_left_to_who_got_its_number() -> None:
    assert claims.claim("closed") is None
    number = claims._held[claims._name(("closed",))]._descriptor  # type: ignore[attr-defined]
    os.close(number)
    read, write = os.pipe()
    theirs = number if number in {read, write} else os.dup2(read, number)
    claims.release("closed")
    assert os.fstat(theirs)
    assert claims.claim("closed") is None
    claims._release_all()
    for one in {read, write, theirs}:
        os.close(one)


@pytest.mark.skipif(sys.platform != "linux", reason="abstract sockets")
def test_a_holder_that_has_not_begun_to_listen_is_waited_for() -> None:
    """Its process may be stopped between the two calls, where the machine is busy."""
    address = f"\0{claims.PREFIX}{claims._name(('half', 'held'))}"
    with socket.socket(socket.AF_UNIX) as half:
        half.bind(address)
        later = Timer(0.01, half.listen)
        later.start()
        holder = claims.claim("half", "held")
        later.join()
    assert holder is not None
    assert holder.pid == os.getpid()
