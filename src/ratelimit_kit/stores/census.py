"""Entries of the census, and the value that holds them in Memcached: a line for each. Redis changes the same in a script."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ratelimit_kit.core.durations import MICROSECONDS

MAX_PROCESSES: Final = 1000
"""The most entries of a census: so large is its key at most."""


def read(value: bytes, now: int) -> dict[str, int]:
    """The entries that last beyond `now` (microseconds), and until when; what others have written there is none."""
    lasting: dict[str, int] = {}
    for line in value.decode("utf-8", "replace").splitlines()[:MAX_PROCESSES]:
        entry, _, end = line.rpartition(" ")
        if entry and end.isdecimal() and len(end) < 20 and int(end) > now:
            lasting[entry] = int(end)
    return lasting


def written(lasting: dict[str, int], entry: str, until: int | None) -> bytes:
    """The value with one entry, until a time; None removes it."""
    lasting.pop(entry, None)
    if until is not None and len(lasting) < MAX_PROCESSES:
        lasting[entry] = until
    return "\n".join(f"{entry} {end}" for entry, end in lasting.items()).encode()


def lifetime(lasting: Mapping[str, int], now: int) -> int:
    """The seconds after which none of them lasts any more."""
    return -(-(max(lasting.values(), default=now) - now) // MICROSECONDS)
