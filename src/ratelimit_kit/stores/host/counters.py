"""Decisions on a file of counters, by the steps of the limits: what the memory store's tables do, over processes.

Used while the shards of all charges are locked. A new key for which its shard has no room is counted, with all others of
its limit, on one strict counter in the last shard; while that counter matters, a new key that finds room begins with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Any, Final, NamedTuple

from ratelimit_kit.core.decision import Verdict
from ratelimit_kit.core.fixed_window import FixedWindow
from ratelimit_kit.core.limit import Limit, Peek
from ratelimit_kit.errors import StoreFullError
from ratelimit_kit.stores import Charge
from ratelimit_kit.stores.host import states
from ratelimit_kit.stores.host.files.file import HostFile, Place
from ratelimit_kit.stores.host.files.layout import DIGEST_SIZE, MARK_SIZE
from ratelimit_kit.stores.host.shard import Shard

Now = tuple[int, int]
"""Microseconds since boot, and of the wall clock."""

CALENDAR: Final = 1
"""The clock of calendar windows in a slot, and in a Now; 0 is the time since boot."""


def digest_of(salt: bytes, *names: str) -> bytes:
    """What stands for a counter in the file, by the limit's and a key's name; that which keys share has only the first.

    Without the salt nobody can tell, or choose, two that are near.
    """
    text = "\0".join(names).encode("utf-8", "surrogatepass")
    return blake2b(text, digest_size=DIGEST_SIZE, key=salt).digest()


def shard_of(file: HostFile, digest: bytes) -> int:
    """The shard in which a key is."""
    return int.from_bytes(digest[MARK_SIZE:], "little") % file.header.shards


class Found(NamedTuple):
    """A key's digest, its shard, and the slot in which it was last seen."""

    digest: bytes
    shard: int
    slot: int | None


def find(file: HostFile, charge: Charge) -> Found:
    """Where a charge's counter must be."""
    known = file.places.get(charge.counter)
    if known is not None:
        return Found(known.digest, known.shard, known.slot)
    digest = digest_of(file.header.salt, charge.limit.counter, charge.key)
    return Found(digest, shard_of(file, digest), None)


def clock_of(limit: Limit) -> int:
    """Which clock a limit counts by."""
    return CALENDAR if isinstance(limit, FixedWindow) else 0


class _Place:
    """Where one key is counted: its slot (None if it has none yet), and its state there."""

    def __init__(self, shard: Shard, digest: bytes, limit: Limit, slot: int | None = None) -> None:
        self.shard, self.digest, self.clock = shard, digest, clock_of(limit)
        self.now = shard.now[self.clock]
        self.state: Any = None
        self.slot: int | None = None
        self.is_new = False
        found = shard.find(digest, slot)
        if found is not None:
            self.slot, content = found
            before = states.read(limit, content, shard.file.states)
            self.state = limit.rewind(before, self.now)
            if self.state is not before:
                self._write(limit)

    def peek(self, limit: Limit, cost: int) -> Peek:
        """Check whether `cost` fits; keys that share a counter may together cost more than it can ever admit."""
        if cost > limit.max_cost > 0:
            seen = limit.peek(self.state, self.now, 0)
            return Peek(False, seen.remaining, limit.max_lifetime, seen.reset)
        return limit.peek(self.state, self.now, cost)

    def charge(self, limit: Limit, cost: int) -> Peek:
        """Record a `cost` that fits, and return what is left."""
        self.state = limit.try_charge(self.state, self.now, cost)
        self._write(limit)
        return limit.peek(self.state, self.now, 0)

    def refund(self, limit: Limit, cost: int, charged_at: int | None) -> None:
        """Give `cost` back to a key that has a slot."""
        if self.slot is None:
            return
        self.state = limit.refund(self.state, self.now, cost, charged_at)
        if self.state is None:
            self.shard.free(self.slot)
        else:
            self._write(limit)

    def stamp(self, limit: Limit) -> int:
        """The time under which a hit was charged here."""
        return self.now if self.state is None else limit.stamp(self.state, self.now)

    def _write(self, limit: Limit) -> None:
        content = states.write(self.digest, limit, self.state, self.now, self.clock, self.shard.file.states)
        assert self.slot is not None
        if self.is_new:
            self.is_new = False
            self.shard.write_new(self.slot, content, limit.lifetime(self.state, self.now))
        else:
            self.shard.write(self.slot, content)


class Ledger:
    """One decision on a file, at one time; `found_room` is whether all new keys did, None if there were none."""

    def __init__(self, file: HostFile, now: Now) -> None:
        self.found_room: bool | None = None
        self._file = file
        self._now = now
        self._shards: dict[int, Shard] = {}
        self._shared = file.header.shards
        self._common: dict[bytes, _Place] = {}

    def decide(self, charges: Sequence[Charge], found: Sequence[Found]) -> list[Verdict]:
        """Admit all charges or write nothing; one Verdict per charge, in order."""
        places = [self._place(charge, one) for charge, one in zip(charges, found, strict=True)]
        asked = [
            sum(other.cost for other, one in zip(charges, places, strict=True) if one is place) for place in places
        ]
        peeks = [
            place.peek(charge.limit, max(cost, charge.cost))
            for charge, place, cost in zip(charges, places, asked, strict=True)
        ]
        if all(peek.fits for peek in peeks):
            peeks = [
                place.charge(charge.limit, charge.cost) if charge.cost else peek
                for charge, place, peek in zip(charges, places, peeks, strict=True)
            ]
        return [
            Verdict(peek.fits, charge.limit, peek.remaining, peek.wait, peek.reset, place.stamp(charge.limit))
            for charge, place, peek in zip(charges, places, peeks, strict=True)
        ]

    def refund(self, charges: Sequence[Charge], found: Sequence[Found], charged_at: int | None) -> None:
        """Refund the charges, to keys that have a counter of their own."""
        for charge, one in zip(charges, found, strict=True):
            self._own(charge, one).refund(charge.limit, charge.cost, charged_at)

    def reset(self, charges: Sequence[Charge], found: Sequence[Found]) -> None:
        """Forget the counters of the charges."""
        for charge, one in zip(charges, found, strict=True):
            place = self._own(charge, one)
            if place.slot is not None:
                place.shard.free(place.slot)

    def _own(self, charge: Charge, found: Found) -> _Place:
        place = _Place(self._shard(found.shard), found.digest, charge.limit, found.slot)
        if place.slot is not None and place.slot != found.slot:
            self._remember(charge, found, place.slot)
        return place

    def _remember(self, charge: Charge, found: Found, slot: int) -> None:
        at = self._file.layout.slot_at(found.shard, slot)
        self._file.remember(charge.counter, Place(found.digest, found.shard, slot, at))

    def _shard(self, number: int) -> Shard:
        if number not in self._shards:
            self._shards[number] = Shard(self._file, number, self._now)
        return self._shards[number]

    def _place(self, charge: Charge, found: Found) -> _Place:
        """Where to count a key: if there is no room for a new one, on the counter that keys share."""
        place = self._own(charge, found)
        if place.slot is not None:
            return place
        if not charge.cost:
            if not place.shard.has_room():
                return self._of_all(charge.limit)
        elif not self._find_room(place):
            self.found_room = False
            common = self._of_all(charge.limit)
            if common.slot is None and not self._find_room(common):
                raise StoreFullError(
                    f"{self._file.path} is full, and so many limits are that a further one cannot even share a counter: "
                    "raise max_keys, or use a shared store"
                )
            return common
        else:
            assert place.slot is not None
            self._remember(charge, found, place.slot)
        if Shard(self._file, self._shared, self._now).is_used():
            place.state = self._of_all(charge.limit).state
        return place

    def _find_room(self, place: _Place) -> bool:
        place.slot = place.shard.room()
        if place.slot is None:
            return False
        place.is_new = True
        self.found_room = self.found_room is not False
        return True

    def _of_all(self, limit: Limit) -> _Place:
        """The counter that keys share under this limit; one, however many charges of a decision are on it."""
        if self._shared not in self._shards:
            self._file.hold(self._shared)
        digest = digest_of(self._file.header.salt, limit.counter)
        if digest not in self._common:
            self._common[digest] = _Place(self._shard(self._shared), digest, limit)
        return self._common[digest]
