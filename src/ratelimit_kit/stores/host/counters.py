"""Decisions on a file of counters, by the steps of the limits: what the memory store's tables do, over processes.

Used while the shards of all charges are locked. A new key for which its shard has no room is counted, with all others of
its limit, on one strict counter in the last shard; while that counter matters, a new key that finds room begins with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Any, Final

from ratelimit_kit.core.decision import Verdict
from ratelimit_kit.core.fixed_window import FixedWindow
from ratelimit_kit.core.limit import Limit, Peek
from ratelimit_kit.errors import StoreError, StoreFullError
from ratelimit_kit.stores import Charge
from ratelimit_kit.stores.host import slots
from ratelimit_kit.stores.host.file import HostFile
from ratelimit_kit.stores.host.layout import DIGEST_SIZE, HEAD, MARK_SIZE, MAX_NUMBERS, numbers

Now = tuple[int, int]
"""Microseconds since boot, and of the wall clock."""

CALENDAR: Final = 1
"""The clock of calendar windows in a slot, and in a Now; 0 is the time since boot."""

SHARED: Final = b"shared"
"""Tells the digest of a counter that keys share from that of a key."""


def digest_of(salt: bytes, limit: Limit, key: str) -> bytes:
    """What stands for a key's counter in the file: without the salt nobody can tell, or choose, two that are near."""
    text = f"{limit.counter}\0{key}".encode("utf-8", "surrogatepass")
    return blake2b(text, digest_size=DIGEST_SIZE, key=salt).digest()


def shard_of(file: HostFile, digest: bytes) -> int:
    """The shard in which a key is."""
    return int.from_bytes(digest[MARK_SIZE:], "little") % file.header.shards


def clock_of(limit: Limit) -> int:
    """Which clock a limit counts by."""
    return CALENDAR if isinstance(limit, FixedWindow) else 0


def content_of(digest: bytes, limit: Limit, state: Any, now: int, clock: int) -> bytes:
    """A slot with this state."""
    dumped = limit.dump(state)
    if len(dumped) > MAX_NUMBERS:
        raise StoreError(f"the state of {limit} has {len(dumped)} numbers, and a slot has room for {MAX_NUMBERS}")
    head = HEAD.pack(digest, now + limit.lifetime(state, now), len(dumped), clock)
    return head + numbers(len(dumped)).pack(*dumped)


def state_of(limit: Limit, content: bytes) -> Any:
    """The state in a slot."""
    _, _, count, _ = HEAD.unpack_from(content)
    return limit.load(numbers(count).unpack_from(content, HEAD.size))


class _Place:
    """Where one key is counted: its slot (None if it has none yet), and its state there."""

    def __init__(self, file: HostFile, shard: int, digest: bytes, limit: Limit, now: Now) -> None:
        self.file, self.shard, self.digest, self.clock = file, shard, digest, clock_of(limit)
        self.now = now[self.clock]
        self.since_boot = now[0]
        self.state: Any = None
        self.slot: int | None = None
        self.is_new = False
        found = slots.find(file, shard, digest)
        if found is not None:
            self.slot, content = found
            before = state_of(limit, content)
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
            slots.free(self.file, self.shard, self.slot)
        else:
            self._write(limit)

    def stamp(self, limit: Limit) -> int:
        """The time under which a hit was charged here."""
        return self.now if self.state is None else limit.stamp(self.state, self.now)

    def _write(self, limit: Limit) -> None:
        content = content_of(self.digest, limit, self.state, self.now, self.clock)
        assert self.slot is not None
        if self.is_new:
            self.is_new = False
            due = self.since_boot + max(1, limit.lifetime(self.state, self.now))
            slots.write_new(self.file, self.shard, self.slot, content, due)
        else:
            slots.write(self.file, self.shard, self.slot, content)


class Ledger:
    """One decision on a file, at one time; `found_room` is whether all new keys did, None if there were none."""

    def __init__(self, file: HostFile, now: Now) -> None:
        self.found_room: bool | None = None
        self._file = file
        self._now = now
        self._shared = file.header.shards
        self._holds_shared = False
        self._taken: dict[int, set[int]] = {}
        self._common: dict[bytes, _Place] = {}

    def decide(self, charges: Sequence[Charge], digests: Sequence[bytes]) -> list[Verdict]:
        """Admit all charges or write nothing; one Verdict per charge, in order."""
        places = [self._place(charge, digest) for charge, digest in zip(charges, digests, strict=True)]
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

    def refund(self, charges: Sequence[Charge], digests: Sequence[bytes], charged_at: int | None) -> None:
        """Refund the charges, to keys that have a counter of their own."""
        for charge, digest in zip(charges, digests, strict=True):
            self._own(charge.limit, digest).refund(charge.limit, charge.cost, charged_at)

    def reset(self, charges: Sequence[Charge], digests: Sequence[bytes]) -> None:
        """Forget the counters of the charges."""
        for charge, digest in zip(charges, digests, strict=True):
            place = self._own(charge.limit, digest)
            if place.slot is not None:
                slots.free(self._file, place.shard, place.slot)

    def _own(self, limit: Limit, digest: bytes) -> _Place:
        return _Place(self._file, shard_of(self._file, digest), digest, limit, self._now)

    def _place(self, charge: Charge, digest: bytes) -> _Place:
        """Where to count a key: if there is no room for a new one, on the counter that keys share."""
        place = self._own(charge.limit, digest)
        if place.slot is not None:
            return place
        if not charge.cost:
            if not slots.has_room(self._file, place.shard, self._now[0], self._now):
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
        if slots.any_used(self._file, self._shared):
            place.state = self._of_all(charge.limit).state
        return place

    def _find_room(self, place: _Place) -> bool:
        taken = self._taken.setdefault(place.shard, set())
        place.slot = slots.room(self._file, place.shard, self._now[0], self._now, taken)
        if place.slot is None:
            return False
        taken.add(place.slot)
        place.is_new = True
        self.found_room = self.found_room is not False
        return True

    def _of_all(self, limit: Limit) -> _Place:
        """The counter that keys share under this limit; one, however many charges of a decision are on it."""
        if not self._holds_shared:
            self._file.hold(self._shared)
            self._holds_shared = True
        text = SHARED + limit.counter.encode("utf-8", "surrogatepass")
        digest = blake2b(text, digest_size=DIGEST_SIZE, key=self._file.header.salt, person=SHARED).digest()
        if digest not in self._common:
            self._common[digest] = _Place(self._file, self._shared, digest, limit, self._now)
        return self._common[digest]
