"""The slots of one shard: found by the digest of a key, given to new keys, and taken back when they no longer matter.

Used while the shard is locked. The index is written before the slot, and a slot is emptied before its mark: whenever a
process is killed, a slot that holds a digest is the one that the index leads to.
"""

from __future__ import annotations

from array import array
from collections.abc import Container
from typing import Final

from ratelimit_kit.stores.host.file import FULL, HostFile
from ratelimit_kit.stores.host.layout import HEAD, MARK_SIZE, SLOT_SIZE, numbers

EMPTY: Final = bytes(MARK_SIZE)
FREED: Final = 1
"""The time at which a slot that was taken back is to be checked: long ago. One that was never used has 0."""

CHECKS: Final = 64
"""How many slots are checked at most for one new key."""


def find(file: HostFile, shard: int, digest: bytes) -> tuple[int, bytes] | None:
    """The slot with this digest, and what it holds."""
    header = file.header
    marks = file.read(header.index_at(shard), header.slots_of(shard) * MARK_SIZE)
    mark = digest[:MARK_SIZE]
    at = marks.find(mark)
    while at >= 0:
        if not at % MARK_SIZE:
            content = file.read(header.slot_at(shard, at // MARK_SIZE), SLOT_SIZE)
            if content.startswith(digest):
                return at // MARK_SIZE, content
        at = marks.find(mark, at + 1)
    return None


def room(file: HostFile, shard: int, now: int, clocks: tuple[int, int], taken: Container[int]) -> int | None:
    """A slot for a new key that is not `taken`; None if all are alive, or the disk is full. `now` is since boot.

    A slot that was never used is written here, so that there is room for it before anything is charged.
    """
    dues = _dues(file, shard)
    used, count = _used(dues), len(dues)
    for _ in range(CHECKS):
        earliest = min(dues[:used], default=now + 1)
        if earliest > now:
            break
        slot = dues.index(earliest)
        if slot not in taken:
            left = _left(file, shard, slot, clocks)
            if left <= 0:
                return slot
            _set_due(file, shard, slot, now + left)
        dues[slot] = now + 1
    slot = next((slot for slot in range(used, count) if slot not in taken), -1)
    return slot if slot >= 0 and _begins(file, shard, slot) else None


def has_room(file: HostFile, shard: int, now: int, clocks: tuple[int, int]) -> bool:
    """Whether there is a slot for a new key; writes nothing."""
    dues = _dues(file, shard)
    used = _used(dues)
    return used < len(dues) or any(
        due <= now and _left(file, shard, slot, clocks) <= 0 for slot, due in enumerate(dues)
    )


def write_new(file: HostFile, shard: int, slot: int, content: bytes, due: int) -> None:
    """Give a slot to a new key."""
    _set_due(file, shard, slot, due)
    file.write(file.header.index_at(shard) + slot * MARK_SIZE, content[:MARK_SIZE])
    file.write(file.header.slot_at(shard, slot), content)


def write(file: HostFile, shard: int, slot: int, content: bytes) -> None:
    """Write the state of a key that has this slot."""
    file.write(file.header.slot_at(shard, slot), content)


def free(file: HostFile, shard: int, slot: int) -> None:
    """Take a slot back."""
    file.write(file.header.slot_at(shard, slot), bytes(HEAD.size))
    file.write(file.header.index_at(shard) + slot * MARK_SIZE, EMPTY)
    _set_due(file, shard, slot, FREED)


def empty(file: HostFile, shard: int) -> None:
    """Take all slots back."""
    for slot in range(_used(_dues(file, shard))):
        free(file, shard, slot)


def any_used(file: HostFile, shard: int) -> bool:
    """Whether a shard has ever had a key; needs no lock."""
    return file.read(file.header.dues_at(shard), MARK_SIZE) != EMPTY


def alive(file: HostFile, shard: int, now: int, clocks: tuple[int, int]) -> int:
    """How many keys of a shard matter still."""
    dues = _dues(file, shard)
    return sum(due > now or _left(file, shard, slot, clocks) > 0 for slot, due in enumerate(dues[: _used(dues)]))


def _dues(file: HostFile, shard: int) -> array[int]:
    """When each slot is to be checked."""
    return array("q", file.read(file.header.dues_at(shard), file.header.slots_of(shard) * MARK_SIZE))


def _used(dues: array[int]) -> int:
    """How many slots have ever been used: they are used in order."""
    try:
        return dues.index(0)
    except ValueError:
        return len(dues)


def _left(file: HostFile, shard: int, slot: int, clocks: tuple[int, int]) -> int:
    """For how many microseconds a slot matters still."""
    digest, until, _, clock = HEAD.unpack(file.read(file.header.slot_at(shard, slot), HEAD.size))
    return until - clocks[clock & 1] if any(digest) else 0


def _begins(file: HostFile, shard: int, slot: int) -> bool:
    """Write a slot that was never used, as one that was taken back; false if the disk is full."""
    try:
        file.write(file.header.slot_at(shard, slot), bytes(HEAD.size))
        _set_due(file, shard, slot, FREED)
    except OSError as error:
        if error.errno in FULL:
            return False
        raise
    return True


def _set_due(file: HostFile, shard: int, slot: int, due: int) -> None:
    file.write(file.header.dues_at(shard) + slot * MARK_SIZE, numbers(1).pack(due))
