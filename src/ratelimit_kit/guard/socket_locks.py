"""Detects, without any server's settings, whether a sibling process serves the same application.

A serving process holds a name for each address on which it listens. A process that cannot have the name
has a sibling on the same socket. A process that does not listen (a shell, a management command, a test client)
holds none.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Final, NamedTuple

from ratelimit_kit.core.fork import in_forked_child
from ratelimit_kit.guard import claims, listening
from ratelimit_kit.guard.listening import Address

SOCKET: Final = "socket"
COMMAND: Final = "command"
REPLICA: Final = "replica"

OTHER_PORT: Final = "another port or socket"

VOLATILE: Final = frozenset(
    {
        *("INVOCATION_ID", "JOURNAL_STREAM", "SYSTEMD_EXEC_PID", "LISTEN_PID", "NOTIFY_SOCKET"),
        *("MEMORY_PRESSURE_WATCH", "MEMORY_PRESSURE_WRITE", "CREDENTIALS_DIRECTORY"),
        *("SUPERVISOR_PROCESS_NAME", "PS", "CIRCUS_WID", "NODE_APP_INSTANCE", "pm_id", "unique_id", "_"),
    }
)
"""Variables in which systemd, supervisord, honcho, circus, pm2 and shells give each process a value of its own."""

_NUMBERED: Final = re.compile(r"^-[bpn]$|^--?.*(port|bind|listen|http|socket|log|pid|name|stats|instance)")
"""Options whose numbers say where a process listens, or which of several it is."""

_ADDRESS: Final = re.compile(r":\d+$|\.sock$|\.socket$|^unix:")
"""Words that are an address, whatever option they belong to."""

_claimed: set[Address] = set()
"""The addresses for which this process holds the name."""


Look = Generator[None, None, "Sibling | None"]
"""A look that pauses wherever a slice of it ends, and returns what it has found."""


class Sibling(NamedTuple):
    """Another process that holds the name of an address; `parent` is the process that started it."""

    pid: int
    parent: int
    where: str


def on_the_same_socket(addresses: list[Address]) -> Look:
    """Hold the name of every address; return the first sibling that holds one and still listens on it, else None.

    Names of addresses on which this process listens no more are let go: tests may serve on a thousand ports.
    Raises NoProofError if a sibling cannot be seen.
    """
    if addresses:
        for gone in _claimed.difference(addresses):
            claims.release(*_identity(gone))
            _claimed.discard(gone)
    for address in addresses:
        holder = claims.claim(*_identity(address))
        if holder is None:
            _claimed.add(address)
        elif (yield from _listens(holder.pid, address)):
            return Sibling(*holder, address.text)
    return None


def _identity(address: Address) -> tuple[str, ...]:
    """What siblings have in common: a port on all addresses is one, by IPv4 and by IPv6."""
    host, _, port = address.text.rpartition(":")
    text = f"*:{port}" if host in {"0.0.0.0", "::"} else address.text  # noqa: S104 - compared
    return SOCKET, namespace(), text, address.link


def on_another_port(parent: int, *, replica: bool = False) -> Sibling | None:
    """Hold the name of this command under a parent process, whatever the port; return the sibling that holds it.

    A `replica` also has the same folder and the same environment, but for ports and what its supervisor numbers.
    """
    command = _command()
    if command is None:
        return None
    identity = [COMMAND, str(parent), namespace("pid"), *command]
    if replica:
        variables = [f"{name}={value}" for name, value in sorted(os.environ.items()) if not _is_volatile(name, value)]
        told = hashlib.sha256("\0".join(variables).encode("utf-8", "surrogateescape")).hexdigest()
        identity = [REPLICA, *identity, _folder(), sys.prefix, told]
    holder = claims.claim(*identity)
    return None if holder is None else Sibling(*holder, OTHER_PORT)


def _command() -> list[str] | None:
    """What this process was told to run, without the numbers of ports and sockets; None if that is not known."""
    uwsgi, mod_wsgi = sys.modules.get("uwsgi"), sys.modules.get("mod_wsgi")
    if mod_wsgi is not None:
        return ["mod_wsgi", str(mod_wsgi.process_group)]
    if uwsgi is not None:
        words = [word for name, value in sorted(uwsgi.opt.items()) for word in (f"--{name}", _text(value))]
    else:
        words = sys.orig_argv[1:]
    if not words or words == ["-"]:
        return None
    return [_without_numbers(before, word) for before, word in zip(["", *words], words, strict=False)]


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _is_volatile(name: str, value: str) -> bool:
    return name in VOLATILE or (name.upper().endswith("PORT") and value.isdecimal())


def _without_numbers(before: str, word: str) -> str:
    """A word of the command, without numbers if the option before it, or its own, is about ports, sockets or the like."""
    option, equals, value = word.partition("=") if word.startswith("-") else (before, "", word)
    if not (_NUMBERED.search(option.lower()) or _ADDRESS.search(value)):
        return word
    return (option + equals if equals else "") + re.sub(r"\d+", "#", value)


def _folder() -> str:
    try:
        return os.getcwd()  # noqa: PTH109 - compared as text
    except OSError:
        return ""


def listening_addresses() -> list[str]:
    """The addresses of this process's own listening stream sockets, found without a pause."""
    return sorted({address.text for address in listening.addresses() if address is not None})


def _listens(pid: int, address: Address) -> Generator[None, None, bool]:
    """Whether a process still listens on an address: an exiting one may take long to finish its last requests.

    True if that is not visible.
    """
    try:
        sockets = {address.link} if address.link else (yield from _listening_on(int(address.text.rpartition(":")[2])))
        part = listening.Slice()
        with os.scandir(f"/proc/{pid}/fd") as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):
                    if os.readlink(entry.path) in sockets:  # noqa: PTH115 - not files
                        return True
                if part.is_over():
                    yield
    except OSError:
        return True
    return False


def _listening_on(port: int) -> Generator[None, None, set[str]]:
    """The links of all sockets that listen on a port, by /proc/net."""
    sockets, local, part = set(), f":{port:04X}", listening.Slice()
    for name in ("tcp", "tcp6"):
        with contextlib.suppress(FileNotFoundError), open(f"/proc/net/{name}") as lines:  # noqa: PTH123 - not a file
            for line in lines:
                row = line.split(maxsplit=10)
                if row[3] == "0A" and row[1].endswith(local):
                    sockets.add(f"socket:[{row[9]}]")
                if part.is_over():
                    yield
    return sockets


def namespace(kind: str = "net") -> str:
    """A namespace of this process: the same address in another container is another address."""
    try:
        return str(Path(f"/proc/self/ns/{kind}").readlink())
    except OSError:
        return ""


in_forked_child(_claimed.clear)
