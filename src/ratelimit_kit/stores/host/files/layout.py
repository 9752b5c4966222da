"""What is where in a file of counters: a header, then shards, each with an index and its slots.

    header (one page)   magic, format, shards, slots of each, keys, salt, and when this machine was started
    shard               index: for each slot 8 bytes of its key's digest, and when to check it
                        slots, three to a page, so that each is written in one piece

A slot is `digest (16) until (8) count (2) clock (1) numbers (8 each)`, in this machine's byte order: the file never
leaves it. The last shard holds the counters that keys share for which there is no room.
"""

from __future__ import annotations

import math
import struct
from functools import cache
from typing import Final, NamedTuple

FORMAT: Final = 1
MAGIC: Final = b"RLK-HOST"
PAGE: Final = 4096
SLOT_SIZE: Final = 1360
SLOTS_OF_A_PAGE: Final = PAGE // SLOT_SIZE
HEAD: Final = struct.Struct("16sqHB5x")
"""The head of a slot: the digest of its key, until when it matters, how many numbers follow, and by which clock."""

MAX_NUMBERS: Final = (SLOT_SIZE - HEAD.size) // 8
"""How many integers of a state a slot has room for."""

DIGEST_SIZE: Final = 16
MARK_SIZE: Final = 8
"""How much of a digest the index holds."""

ENTRY_SIZE: Final = 16

SHARED_SLOTS: Final = 48
"""How many limits may have a counter that keys share for which there is no room: their slots are reserved."""

KEYS_OF_A_SHARD: Final = 512
FILE_LOCK: Final = 2**40
"""Where the lock is that a process holds while it replaces the file; those of the shards are at their numbers."""

_HEADER: Final = struct.Struct("8sIIIQ16s32s")


class Header(NamedTuple):
    """What a file says of itself: how many shards of how many slots, for how many keys, its salt, and the boot it is of."""

    format: int
    shards: int
    slots: int
    max_keys: int
    salt: bytes
    boot: bytes

    @classmethod
    def of(cls, max_keys: int, salt: bytes, boot: bytes) -> Header:
        """The header of a new file; where there are several shards each has some slots more than its part of the keys."""
        shards = max(1, max_keys // KEYS_OF_A_SHARD)
        mean = max_keys / shards
        spare = 5 * math.sqrt(mean) if shards > 1 else 0.0  # keys spread like balls over bins: five standard deviations
        return cls(FORMAT, shards, math.ceil(mean + spare), max_keys, salt, boot)

    @classmethod
    def read(cls, page: bytes) -> Header | None:
        """The header in this page; None if it is that of another program's file, or none."""
        if len(page) < _HEADER.size:
            return None
        magic, *fields = _HEADER.unpack_from(page)
        return cls(*fields) if magic == MAGIC else None

    def page(self) -> bytes:
        """The page that holds it."""
        return _HEADER.pack(MAGIC, *self).ljust(PAGE, b"\0")


class Layout:
    """Where everything is in a file with this header; `size` is that of the whole file, in bytes."""

    def __init__(self, header: Header) -> None:
        self.shards, self.slots = header.shards, header.slots
        most = max(header.slots, SHARED_SLOTS)
        self._index_size = -(-most * ENTRY_SIZE // PAGE) * PAGE
        self._shard_size = self._index_size + -(-most // SLOTS_OF_A_PAGE) * PAGE
        self.size = PAGE + (header.shards + 1) * self._shard_size

    @property
    def reserved(self) -> tuple[tuple[int, int], ...]:
        """What must never lack room: offset and length of the header, the indexes, and the slots that keys share."""
        indexes = [(self.index_at(shard), self._index_size) for shard in range(self.shards + 1)]
        return (0, PAGE), *indexes, (self.slot_at(self.shards, 0), -(-SHARED_SLOTS // SLOTS_OF_A_PAGE) * PAGE)

    def slots_of(self, shard: int) -> int:
        """How many slots a shard has."""
        return self.slots if shard < self.shards else SHARED_SLOTS

    def index_at(self, shard: int) -> int:
        """Where the index of a shard begins."""
        return PAGE + shard * self._shard_size

    def slot_at(self, shard: int, slot: int) -> int:
        """Where a slot is."""
        page, place = divmod(slot, SLOTS_OF_A_PAGE)
        return PAGE + shard * self._shard_size + self._index_size + page * PAGE + place * SLOT_SIZE


@cache
def numbers(count: int) -> struct.Struct:
    """The form of a state of so many numbers."""
    return struct.Struct(f"{count}q")
