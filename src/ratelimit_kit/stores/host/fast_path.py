"""The fast path to a file of counters, taken by most hits: on keys whose slots this process has seen before.

It returns None where only `decide` can tell: for a key that is new or elsewhere, a lock that is held, a file that is to be
looked at, a denial by one of several limits, a clock that was set back. Nothing is written then. Times are read before
the lock is taken, which no wait separates from it; a stamp of another process that is a little later is taken for now.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any, Final

from ratelimit_kit.core.decision import Basis, Decision, StateAllowed, StateDenied, StatesAllowed
from ratelimit_kit.core.limit import SKEW, Limit
from ratelimit_kit.stores import Charge, FastPath, check_charges
from ratelimit_kit.stores.host import states
from ratelimit_kit.stores.host.access import Access
from ratelimit_kit.stores.host.counters import clock_of
from ratelimit_kit.stores.host.files.file import LOCK, SHARDS, UNLOCK, HostFile, Place, lockf
from ratelimit_kit.stores.host.files.layout import SLOT_SIZE

Clock = Callable[[], int]
Clocks = tuple[Clock, Clock]
"""Nanoseconds since boot, and of the wall clock."""

Quick = Callable[[Sequence[Charge]], Decision | None]
ONE: Final = 1
"""The cost of most hits; compared by identity, because `True` equals 1 and must be rejected."""

by_shard = attrgetter("shard")


def fast_path_to(access: Access, clocks: Clocks) -> Quick:
    """A function that decides charges quickly on the file of a store."""
    since_boot = clocks[0]

    def decide(charges: Sequence[Charge]) -> Decision | None:
        file = access.opened
        if file is None or since_boot() >= access.check_at:
            return None
        places = []
        for key, limit, cost in charges:
            place = file.places.get((key, limit.counter))
            if place is None or type(cost) is not int or not 0 < cost <= limit.max_cost:
                return None
            places.append(place)
        if len(places) > 1:
            check_charges(charges)
            return _several(file, places, charges, clocks)
        for place in places:
            return _one(file, place, charges[0].limit, charges[0].cost, clocks[clock_of(charges[0].limit)]() // 1000)
        return None

    return decide


def single_path_to(access: Access, clocks: Clocks, namespace: str, limit: Limit) -> FastPath:
    """A function that decides hits of one unit on keys of one namespace under one limit."""
    since_boot, wall = clocks
    is_calendar = bool(clock_of(limit))
    prefix, counter = namespace + ":", limit.counter

    def hit(key: Any, cost: Any) -> Decision | None:
        file = access.opened
        if file is None or cost is not ONE:
            return None
        now = since_boot()
        if now >= access.check_at or type(key) is not str:
            return None
        place = file.places.get((prefix + key, counter))
        return None if place is None else _one(file, place, limit, 1, (wall() if is_calendar else now) // 1000)

    return hit


def _one(
    file: HostFile,
    place: Place,
    limit: Limit,
    cost: int,
    now: int,
    pread: Callable[..., bytes] = os.pread,
    pwrite: Callable[..., int] = os.pwrite,
    lockf: Callable[..., object] = lockf,
) -> Decision | None:
    digest, shard, _, at = place
    descriptor = file.descriptor
    with file.lock:
        try:
            lockf(descriptor, LOCK, 1, shard)
            content = pread(descriptor, SLOT_SIZE, at)
            if not content.startswith(digest):
                return None
            state = states.read(limit, content, file.states)
            after = limit.try_charge(state, now, cost)
            if after is None:
                if state[limit.last_at] - now > SKEW:
                    return None
                denied = StateDenied()
                denied.basis = limit, state, now, cost
                return denied
            pwrite(descriptor, states.write(digest, limit, after, now, clock_of(limit), file.states), at)
        except OSError:  # the lock is held, or `decide` will say what is wrong
            return None
        finally:
            lockf(descriptor, UNLOCK, SHARDS)
    allowed = StateAllowed()
    allowed.basis = limit, after, now, 0
    return allowed


def _several(file: HostFile, places: Sequence[Place], charges: Sequence[Charge], clocks: Clocks) -> Decision | None:
    descriptor = file.descriptor
    both = [clock() // 1000 for clock in clocks]
    charged: list[Any] = []
    bases: list[Basis] = []
    with file.lock:
        try:
            for shard in sorted({place.shard for place in places}):
                lockf(descriptor, LOCK, 1, shard)
            for (_, limit, cost), (digest, _, _, at) in zip(charges, places, strict=True):
                content = os.pread(descriptor, SLOT_SIZE, at)
                if not content.startswith(digest):
                    return None
                clock = clock_of(limit)
                after = limit.try_charge(states.read(limit, content, file.states), both[clock], cost)
                if after is None:
                    return None
                charged.append((states.write(digest, limit, after, both[clock], clock, file.states), at))
                bases.append((limit, after, both[clock], 0))
            for content, at in charged:
                os.pwrite(descriptor, content, at)
        except OSError:
            return None
        finally:
            lockf(descriptor, UNLOCK, SHARDS)
    allowed = StatesAllowed()
    allowed.basis = bases
    return allowed
