"""The addresses on which this process listens, read without a change to its sockets."""

from __future__ import annotations

import os
import socket
from itertools import count
from pathlib import Path

import pytest

from ratelimit_kit.guard import claims, listening
from ratelimit_kit.guard.listening import Address
from ratelimit_kit.guard.socket_locks import listening_addresses


def test_only_listening_sockets_have_addresses(tmp_path: Path) -> None:
    before = listening_addresses()
    with (
        socket.socket() as plain,
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_server(("::1", 0), family=socket.AF_INET6) as six,
        socket.socket(socket.AF_UNIX) as local,
        socket.socket(socket.AF_UNIX) as abstract,
        socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as packets,
    ):
        plain.bind(("127.0.0.1", 0))
        local.bind(str(tmp_path / "socket"))
        local.listen()
        abstract.bind(f"\0site {os.getpid()}")
        abstract.listen()
        packets.bind(f"\0packets {os.getpid()}")
        packets.listen()
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            assert set(listening_addresses()) - set(before) == {
                f"127.0.0.1:{port}",
                f"::1:{six.getsockname()[1]}",
                str(tmp_path / "socket"),
                f"\0site {os.getpid()}",
            }
    assert listening_addresses() == before


def test_the_names_that_it_holds_are_none_of_them() -> None:
    before = listening_addresses()
    assert claims.claim("listening") is None
    assert listening_addresses() == before
    claims.release("listening")


@pytest.mark.parametrize("blocking", [True, False])
def test_looking_at_sockets_leaves_them_as_they_are(blocking: bool) -> None:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(30)
    try:
        with socket.create_server(("127.0.0.1", 0)) as server:
            server.setblocking(blocking)
            listening_addresses()
            assert os.get_blocking(server.fileno()) is blocking
    finally:
        socket.setdefaulttimeout(before)


def test_descriptors_that_the_system_does_not_list_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(folder: str) -> None:
        raise FileNotFoundError(folder)

    monkeypatch.setattr(listening.os, "scandir", nothing)
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert f"127.0.0.1:{server.getsockname()[1]}" in listening_addresses()


def test_an_address_of_a_bsd_begins_with_its_length(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening.sys, "platform", "darwin")
    raw = bytes([16, socket.AF_INET, 0x1F, 0x90, 127, 0, 0, 1]) + bytes(8)
    assert listening._read(raw, 0) == Address("127.0.0.1:8080")
    local = listening._read(bytes([20, socket.AF_UNIX]) + b"/run/a.sock\0\0\0", 0)
    assert local == Address("/run/a.sock", f"socket:[{os.fstat(0).st_ino}]")


def test_a_path_that_another_socket_has_taken_over_is_another_address(tmp_path: Path) -> None:
    """gunicorn's control socket has one path for all servers of a user."""
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as first, socket.socket(socket.AF_UNIX) as second:
        for one in (first, second):
            path.unlink(missing_ok=True)
            one.bind(str(path))
            one.listen()
        found = {address for address in listening.addresses() if address and address.text == str(path)}
        assert len(found) == 2


def test_a_long_look_pauses_whenever_a_slice_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = count()
    monkeypatch.setattr(listening.time, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(listening, "SLICE_SECONDS", 2)
    monkeypatch.setattr(listening, "descriptors", lambda: range(3200))
    assert list(listening.addresses()).count(None) == 3200 // listening.STEPS // 2


def test_a_python_that_cannot_ask_the_kernel_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "ctypes", None)
    with pytest.raises(claims.NoProofError, match="ctypes"):
        listening_addresses()


def test_without_the_module_that_windows_has_not_nothing_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "fcntl", None)
    with socket.create_server(("127.0.0.1", 0)):
        assert listening_addresses() == []


@pytest.mark.parametrize("closed", [0, 1, 40])
def test_descriptors_that_are_closed_while_it_looks_do_not_make_it_look_for_ever(
    closed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = iter([100] + [100 - closed] * 10_000)
    monkeypatch.setattr(listening, "_how_many", lambda: next(told))

    def known(number: int) -> bool:
        if number >= 100 - closed:
            raise OSError(number)
        return False

    monkeypatch.setattr(listening.os, "get_inheritable", known)
    numbers = len(list(listening._first()))
    assert 100 - closed <= numbers <= 100 + listening.ASK_AGAIN


def test_a_descriptor_far_behind_the_others_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        far = os.dup2(server.fileno(), 900)
        try:
            assert far in list(listening.descriptors())
        finally:
            os.close(far)
