"""Socket locks between real processes that share a listening socket."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Generator, Iterator
from types import SimpleNamespace
from typing import Any, TypeVar

import pytest

from ratelimit_kit.guard import claims, socket_locks
from ratelimit_kit.guard.listening import Address
from ratelimit_kit.guard.socket_locks import Sibling
from tests.guard import in_child

T = TypeVar("T")


@pytest.fixture(autouse=True)
def _own_names(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(claims, "_held", {})
    monkeypatch.setattr(socket_locks, "_claimed", set())
    yield
    claims._release_all()


def whole(look: Generator[None, None, T]) -> T:
    """What a look returns, without pauses."""
    while True:
        try:
            next(look)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]


@pytest.fixture
def address() -> Iterator[Address]:
    """An address on which this process listens, and so do its children."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield Address(f"127.0.0.1:{server.getsockname()[1]}")


def test_a_forked_sibling_cannot_have_the_lock_and_learns_who_has_it(address: Address) -> None:
    def look() -> Sibling | None:
        return whole(socket_locks.on_the_same_socket([address]))

    assert look() is None
    assert look() is None  # its own lock
    assert in_child(look) == repr(Sibling(os.getpid(), os.getppid(), address.text))
    assert in_child(lambda: whole(socket_locks.on_the_same_socket([Address("127.0.0.1:2")]))) == "None"


def test_a_process_that_listens_no_more_is_no_sibling(address: Address) -> None:
    assert whole(socket_locks.on_the_same_socket([address])) is None
    assert whole(socket_locks._listens(os.getpid(), address))
    assert not whole(socket_locks._listens(os.getpid(), Address("127.0.0.1:2")))
    assert not whole(socket_locks._listens(os.getpid(), Address("/run/a.sock", "socket:[1]")))
    assert whole(socket_locks._listens(0, address))


def test_the_lock_goes_with_its_address() -> None:
    """A thousand test servers in one process, each on a port of its own, hold one lock."""
    for port in range(1, 1001):
        assert whole(socket_locks.on_the_same_socket([Address(f"127.0.0.1:{port}")])) is None
    assert len(claims._held) == 1
    assert whole(socket_locks.on_the_same_socket([])) is None
    assert len(claims._held) == 1  # a moment without a socket is no reason to give up the proof


class Started:
    """Processes of this parent that hold the name of their command, and what each of them has found."""

    def __init__(self) -> None:
        self.all: list[subprocess.Popen[str]] = []

    def start(self, *words: str, replica: bool = False, **env: str) -> str:
        code = (
            "import os\nfrom ratelimit_kit.guard import socket_locks\n"
            f"print(socket_locks.on_another_port(os.getppid(), replica={replica}), flush=True)\ninput()"
        )
        one = subprocess.Popen(
            [sys.executable, "-c", code, *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, **env},
        )
        self.all.append(one)
        assert one.stdout is not None
        return one.stdout.readline().strip()

    def holder(self, number: int = 0) -> str:
        return repr(Sibling(self.all[number].pid, os.getpid(), socket_locks.OTHER_PORT))


@pytest.fixture
def started() -> Iterator[Started]:
    started = Started()
    yield started
    for one in started.all:
        one.communicate("\n")


def test_the_same_command_of_one_parent_on_another_port_is_found(started: Started) -> None:
    assert started.start("--port", "8001") == "None"
    assert started.start("--port", "8002") == started.holder()
    assert started.start("--port", "8003", SITE="other") == started.holder()


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (["--bind=127.0.0.1:8001"], ["--bind=127.0.0.1:8002"], True),
        (["unix:/run/site1.sock"], ["unix:/run/site2.sock"], True),
        (["--port", "8001"], ["--app", "other"], False),
        (["app1:app", "--port", "8001"], ["app2:app", "--port", "8002"], False),
    ],
    ids=["bind", "socket-files", "another-option", "another-application"],
)
def test_only_numbers_of_ports_and_sockets_may_differ(
    one: list[str], other: list[str], same: bool, started: Started
) -> None:
    assert started.start(*one) == "None"
    assert started.start(*other) == (started.holder() if same else "None")


@pytest.mark.parametrize(
    ("env", "same"),
    [
        ({"PORT": "8002"}, True),
        ({"SUPERVISOR_PROCESS_NAME": "web_01"}, True),
        ({"INVOCATION_ID": "0f3c"}, True),
        ({"MEMORY_PRESSURE_WATCH": "/sys/fs/cgroup/site@8002.service/memory.pressure"}, True),
        ({"HTTP_PORT": "8002"}, True),
        ({"SITE_ID": "2"}, False),
        ({"REPORT": "x"}, False),
        ({"DATABASE_URL": "postgres://host/db2"}, False),
        ({"DJANGO_SETTINGS_MODULE": "other.settings"}, False),
    ],
    ids=lambda value: str(value) if isinstance(value, bool) else next(iter(value)),
)
def test_a_replica_has_the_same_environment_but_for_its_port_and_number(
    env: dict[str, str], same: bool, started: Started
) -> None:
    first = {
        "PORT": "8001",
        "SUPERVISOR_PROCESS_NAME": "web_00",
        "INVOCATION_ID": "9a71",
        "MEMORY_PRESSURE_WATCH": "/sys/fs/cgroup/site@8001.service/memory.pressure",
        "DATABASE_URL": "postgres://host/db1",
        "DJANGO_SETTINGS_MODULE": "site.settings",
    }
    assert started.start("--port", "1", replica=True, **first) == "None"
    assert started.start("--port", "2", replica=True, **{**first, **env}) == (started.holder() if same else "None")


def test_a_port_on_all_addresses_is_one_by_both_protocols() -> None:
    addresses = [Address("0.0.0.0:80"), Address(":::80"), Address("127.0.0.1:80"), Address("::1:80")]
    assert len({socket_locks._identity(address) for address in addresses}) == 3


@pytest.mark.parametrize(
    ("uwsgi", "mod_wsgi", "same"),
    [
        ([{"module": b"shop"}, {"module": b"blog"}], None, False),
        ([{"module": b"shop", "http-socket": b":8001"}, {"module": b"shop", "http-socket": b":8002"}], None, True),
        (None, ["shop", "blog"], False),
        (None, ["shop", "shop"], True),
    ],
    ids=["applications", "ports", "groups", "one-group"],
)
def test_a_server_that_embeds_python_is_known_by_its_options(
    uwsgi: Any, mod_wsgi: Any, same: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands = []
    for number in range(2):
        if uwsgi:
            monkeypatch.setitem(sys.modules, "uwsgi", SimpleNamespace(opt=uwsgi[number]))
        else:
            monkeypatch.setitem(sys.modules, "mod_wsgi", SimpleNamespace(process_group=mod_wsgi[number]))
        commands.append(socket_locks._command())
    assert (commands[0] == commands[1]) == same


@pytest.mark.parametrize("argv", [["python"], ["python", "-"]], ids=["console", "pipe"])
def test_a_program_without_a_name_has_no_replicas(argv: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "orig_argv", argv)
    assert socket_locks.on_another_port(1) is None
