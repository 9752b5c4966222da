"""Finds the addresses on which this process listens, and changes nothing about its sockets.

The descriptors are the application's own, and another thread may be reading one of them at this moment. A
socket object of Python would set their blocking mode, so the kernel is asked directly: getsockopt(2) and getsockname(2).
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import time
from collections.abc import Iterator
from functools import cache
from typing import Any, Final, NamedTuple

from ratelimit_kit.guard import claims

try:
    import ctypes
except ImportError:  # a Python that was built without libffi
    ctypes = None  # type: ignore[assignment]

SLICE_SECONDS: Final = 0.00025
"""How long a look may take without a pause: a hit or an event loop may be waiting for it."""

STEPS: Final = 16
"""After how many steps of a look the clock is read."""

ASK_AGAIN: Final = 64
"""After how many unused numbers it is asked again how many descriptors there are."""

MAX_UNUSED: Final = 8192
"""So many unused numbers in turn are taken for the end."""

MAX_GUESSED: Final = 65_536
"""How many numbers are tried where the system does not list a process's descriptors."""

SIZE: Final = 256
"""Bytes for an address: more than any that is a file's name."""


class Address(NamedTuple):
    """Where a socket listens. `link` names the socket of a UNIX address, as its processes' descriptors do in /proc.

    A program that is started again may take over the path of a UNIX socket; only who shares the socket shares clients.
    """

    text: str
    link: str = ""


def addresses() -> Iterator[Address | None]:
    """The addresses of this process's own listening stream sockets, and None wherever a slice ends.

    None at all on Windows, where processes do not share them. Raises NoProofError if they cannot be read.
    """
    if not claims.are_possible():
        return
    if ctypes is None:
        raise claims.NoProofError("this Python has no ctypes, without which it cannot look at its sockets")
    kernel, part = _Kernel(), Slice()
    for descriptor in descriptors():
        address = kernel.address(descriptor)
        if address is not None and not claims.is_own(address.text):
            yield address
        if part.is_over():
            yield None


class Slice:
    """A part of a long look, between two pauses."""

    def __init__(self) -> None:
        self._steps = 0
        self._end = time.perf_counter() + SLICE_SECONDS

    def is_over(self) -> bool:
        """Whether it is time for a pause, after which the next slice begins."""
        self._steps += 1
        if self._steps % STEPS or (now := time.perf_counter()) < self._end:
            return False
        self._end = now + SLICE_SECONDS  # too early by the pause: then it is only shorter
        return True


def descriptors() -> Iterator[int]:
    """The numbers of this process's descriptors; of all that it may have, where the system does not list them.

    Linux says how many there are: then they are not read from /proc, which takes long for the first thousand.
    """
    if _how_many():
        yield from _first()
        return
    for folder in ("/proc/self/fd", "/dev/fd"):
        with contextlib.suppress(OSError), os.scandir(folder) as entries:
            for entry in entries:
                yield int(entry.name)
            return
    import resource

    yield from range(min(resource.getrlimit(resource.RLIMIT_NOFILE)[0], MAX_GUESSED))


@cache
def _library() -> Any:
    try:  # keeping the interpreter's lock: where threads compete, getting it back takes milliseconds
        return ctypes.PyDLL(None)
    except OSError as error:  # a Python that is linked statically
        raise claims.NoProofError(f"it cannot call the system to look at its sockets ({error})") from error


def _how_many() -> int:
    """How many descriptors this process has (since Linux 6.2); 0 if that is not told."""
    with contextlib.suppress(OSError):
        return os.stat("/proc/self/fd").st_size  # noqa: PTH116 - not a file
    return 0


def _first() -> Iterator[int]:
    """Numbers from 0 on until all descriptors are among them; some may be closed meanwhile, so it is asked again."""
    number = seen = unused = 0
    many = _how_many()
    while seen < many and unused < MAX_UNUSED:
        try:
            os.get_inheritable(number)
            seen, unused = seen + 1, 0
        except OSError:
            unused += 1
            if unused % ASK_AGAIN == 0:
                many = min(many, _how_many())
        yield number
        number += 1


class _Kernel:
    """The two system calls."""

    def __init__(self) -> None:
        library = _library()
        self._option, self._name = library.getsockopt, library.getsockname
        self._value, self._size = ctypes.c_int(), ctypes.c_uint()
        self._text = ctypes.create_string_buffer(SIZE)

    def address(self, descriptor: int) -> Address | None:
        """The address of a listening stream socket; None for any other descriptor."""
        if self._ask(descriptor, socket.SO_ACCEPTCONN) and self._ask(descriptor, socket.SO_TYPE) == socket.SOCK_STREAM:
            self._size.value = SIZE
            if self._name(descriptor, self._text, ctypes.byref(self._size)) == 0:
                with contextlib.suppress(OSError):  # closed at this moment
                    return _read(self._text.raw[: self._size.value], descriptor)
        return None

    def _ask(self, descriptor: int, option: int) -> int:
        self._size.value = 4
        value, size = ctypes.byref(self._value), ctypes.byref(self._size)
        return self._value.value if self._option(descriptor, socket.SOL_SOCKET, option, value, size) == 0 else 0


def _read(raw: bytes, descriptor: int) -> Address | None:
    """What a sockaddr says: the family is its first field, on BSDs after a byte with the length."""
    family = int.from_bytes(raw[:2], sys.byteorder) if sys.platform == "linux" else raw[1]
    if family == socket.AF_INET:
        return Address(f"{socket.inet_ntop(family, raw[4:8])}:{int.from_bytes(raw[2:4], 'big')}")
    if family == socket.AF_INET6:
        return Address(f"{socket.inet_ntop(family, raw[8:24])}:{int.from_bytes(raw[2:4], 'big')}")
    if family == socket.AF_UNIX and len(raw) > 2:
        path = raw[2:] if raw[2] == 0 else raw[2:].partition(b"\0")[0]
        return Address(os.fsdecode(path), f"socket:[{os.fstat(descriptor).st_ino}]")
    return None
