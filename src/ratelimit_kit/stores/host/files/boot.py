"""When this machine was started, and the clock that has run since then, suspended time included.

Times in the file are of this clock: a file of an earlier boot, or of containers whose clock has another offset, says
nothing about the present one.
"""

from __future__ import annotations

import ctypes
import time
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import Final

CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", getattr(time, "CLOCK_MONOTONIC", 0))
"""On macOS CLOCK_MONOTONIC goes on while the machine sleeps."""


def since_boot() -> int:
    """Nanoseconds since the machine was started."""
    return time.clock_gettime_ns(CLOCK)


def identity() -> bytes:
    """32 bytes that are the same in all processes of this boot whose clocks agree."""
    found = [_boot()]
    with suppress(OSError):
        found.append(str(Path("/proc/self/ns/time").readlink()))
    return blake2b("\n".join(found).encode(), digest_size=32).digest()


def _boot() -> str:
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    with suppress(OSError, AttributeError):  # macOS
        text, size = ctypes.create_string_buffer(64), ctypes.c_size_t(64)
        if not ctypes.CDLL(None).sysctlbyname(b"kern.bootsessionuuid", text, ctypes.byref(size), None, 0):
            return text.value.decode()
    return ""
