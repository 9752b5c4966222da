"""One shard of a file of counters: its slots, found by the digest of a key, given to new keys, and taken back.

Used while the shard is locked. An entry of the index is written before its slot, and a slot is emptied before its entry:
whenever a process is killed, a slot that holds a digest is the one that the index leads to.
"""

from __future__ import annotations

from array import array
from functools import cached_property
from struct import Struct
from typing import Final

from ratelimit_kit.core.durations import MICROSECONDS
from ratelimit_kit.core.limit import FOREVER, SKEW
from ratelimit_kit.stores.host.files.file import FULL, Damaged, HostFile
from ratelimit_kit.stores.host.files.layout import ENTRY_SIZE, HEAD, MARK_SIZE, SLOT_SIZE, SLOTS_OF_A_PAGE

ENTRY: Final = Struct("8sq")
"""The beginning of a key's digest, and when its slot is to be checked (microseconds since boot)."""

UNUSED: Final = bytes(ENTRY_SIZE)
FREED: Final = ENTRY.pack(bytes(MARK_SIZE), 1)
"""The entry of a slot that was taken back: it is to be checked, and was to be long ago."""

CHECKS: Final = 64
"""How many slots are checked at most for one new key, while there are others that were never used."""

LONGEST: Final = 20 * 366 * 86_400 * MICROSECONDS
"""No limit keeps a state for so long."""


class Shard:
    """A shard during one decision, at a time by both clocks (microseconds since boot, and of the wall clock)."""

    def __init__(self, file: HostFile, number: int, now: tuple[int, int]) -> None:
        self.file, self.number, self.now = file, number, now
        self._taken: set[int] = set()
        self._reused: set[int] = set()

    @cached_property
    def _index(self) -> bytes:
        layout = self.file.layout
        return self.file.read(layout.index_at(self.number), layout.slots_of(self.number) * ENTRY_SIZE)

    def find(self, digest: bytes, slot: int | None = None) -> tuple[int, bytes] | None:
        """The slot with this digest, and what it holds; it may be the `slot` where it was last seen."""
        found = None if slot is None else self._held(slot, digest)
        at = -1 if found is not None else self._index.find(digest[:MARK_SIZE])
        while found is None and at >= 0:
            if not at % ENTRY_SIZE:
                found = self._held(at // ENTRY_SIZE, digest)
            at = self._index.find(digest[:MARK_SIZE], at + 1)
        return found

    def _held(self, slot: int, digest: bytes) -> tuple[int, bytes] | None:
        """A slot and what it holds, if it is this key's; no other key of the same decision gets it, and it none of theirs."""
        content = self._content(slot, SLOT_SIZE)
        if not content.startswith(digest) or slot in self._taken:
            return None
        self._taken.add(slot)
        return slot, content

    def room(self) -> int | None:
        """A slot for a new key; None if all are alive, or the disk is full. Each call returns another one."""
        unused = self._unused()
        slot = None
        if self.now[0] >= self.file.earliest.get(self.number, 0):
            slot = self._expired(SKEW)
        if slot is None and unused is not None:
            while unused in self._taken:
                unused += 1
            if unused < self.file.layout.slots_of(self.number) and self._has_page(unused):
                slot = unused
        if slot is None:
            slot = self._expired(0)
        if slot is not None:
            self._taken.add(slot)
        return slot

    def has_room(self) -> bool:
        """Whether there is a slot for a new key; changes no state."""
        return self._unused() is not None or self._expired(0) is not None

    def write_new(self, slot: int, content: bytes, lifetime: int) -> None:
        """Give a slot to a new key, to be checked after so many microseconds."""
        due = self.now[0] + max(1, lifetime)
        if slot in self._reused:  # a process that remembers it for its last key must not find that there any more
            self.write(slot, bytes(HEAD.size))
        self._set_entry(slot, ENTRY.pack(content[:MARK_SIZE], due))
        self.write(slot, content)
        self.file.earliest[self.number] = min(due + SKEW, self.file.earliest.get(self.number, due + SKEW))

    def write(self, slot: int, content: bytes) -> None:
        """Write the state of a key that has this slot."""
        self.file.write(self.file.layout.slot_at(self.number, slot), content)

    def free(self, slot: int) -> None:
        """Take a slot back."""
        self.write(slot, bytes(HEAD.size))
        self._set_entry(slot, FREED)
        self.file.earliest.pop(self.number, None)

    def empty(self) -> None:
        """Take all slots back."""
        for slot in range(len(self._dues())):
            self.free(slot)

    def is_used(self) -> bool:
        """Whether the shard has ever had a key; needs no lock."""
        return self.file.read(self.file.layout.index_at(self.number), ENTRY_SIZE) != UNUSED

    def alive(self) -> int:
        """How many keys matter still."""
        return sum(due > self.now[0] or self._left(slot) > 0 for slot, due in enumerate(self._dues()))

    def _unused(self) -> int | None:
        """The first slot that was never used: they are used in order."""
        at = self._index.find(UNUSED)
        while at >= 0:
            at = -(-at // ENTRY_SIZE) * ENTRY_SIZE
            if self._index.startswith(UNUSED, at):
                return at // ENTRY_SIZE
            at = self._index.find(UNUSED, at)
        return None

    def _dues(self) -> array[int]:
        """When each slot that was ever used is to be checked."""
        unused = self._unused()
        return array("q", self._index if unused is None else self._index[: unused * ENTRY_SIZE])[1::2]

    def _expired(self, margin: int) -> int | None:
        """A slot whose key has not mattered for so many microseconds; those that do matter are checked again later.

        While there is other room a slot is kept for a while longer, because a clock may be set back a little.
        """
        now, dues = self.now[0], self._dues()
        found = None
        if max(dues, default=0) > now + LONGEST:
            raise Damaged("it was overwritten", self.file.identity)
        for slot in sorted(range(len(dues)), key=dues.__getitem__)[: CHECKS if margin else None]:
            if dues[slot] > now - margin:
                break
            left = self._left(slot)
            if left <= -margin and slot not in self._taken:
                found = slot
                self._reused.add(slot)
                break
            dues[slot] = now + max(1, left)
            if left > 0:
                self._set_due(slot, dues[slot])
        self.file.earliest[self.number] = 0 if found is not None else min(dues, default=now + 1) + margin
        return found

    def _left(self, slot: int) -> int:
        """For how many microseconds a slot matters still; below 0 for how many it has not."""
        digest, until, _, clock = HEAD.unpack(self._content(slot, HEAD.size))
        return until - self.now[clock & 1] if any(digest) else -FOREVER

    def _content(self, slot: int, size: int) -> bytes:
        return self.file.read(self.file.layout.slot_at(self.number, slot), size)

    def _has_page(self, slot: int) -> bool:
        """Whether there is room for a slot that was never used: its page is written before anything is charged."""
        if slot % SLOTS_OF_A_PAGE or self.number == self.file.layout.shards:  # the last shard is reserved
            return True
        try:
            self.write(slot, bytes(HEAD.size))
        except OSError as error:
            if error.errno in FULL:
                return False
            raise
        return True

    def _set_entry(self, slot: int, entry: bytes) -> None:
        self.file.write(self.file.layout.index_at(self.number) + slot * ENTRY_SIZE, entry)

    def _set_due(self, slot: int, due: int) -> None:
        mark = self._index[slot * ENTRY_SIZE : slot * ENTRY_SIZE + MARK_SIZE]
        self._set_entry(slot, ENTRY.pack(mark, due))
