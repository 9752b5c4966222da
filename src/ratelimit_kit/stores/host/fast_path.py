"""The fast path to a file of counters, taken by most hits: on keys whose slots this process has seen before.

It returns None where only `decide` can tell: for a key that is new or elsewhere, a lock that is held, a file that is to be
looked at, a denial by one of several limits, a clock that was set back. Nothing is written then. The time is read while
the lock is held: a process that is stopped before that has not decided yet.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, Final

from ratelimit_kit.core.decision import Basis, Decision, StateAllowed, StateDenied, StatesAllowed
from ratelimit_kit.core.limit import SKEW, Limit
from ratelimit_kit.stores import Charge, FastPath, check_charges
from ratelimit_kit.stores.host.access import Access
from ratelimit_kit.stores.host.counters import clock_of
from ratelimit_kit.stores.host.files.file import LOCK, SHARDS, UNLOCK, HostFile, Place, lockf
from ratelimit_kit.stores.host.files.layout import SLOT_SIZE
from ratelimit_kit.stores.host.states import read, write

Clock = Callable[[], int]
Clocks = tuple[Clock, Clock]
"""Nanoseconds since boot, and of the wall clock."""

Quick = Callable[[Sequence[Charge]], Decision | None]
ONE: Final = 1
"""The cost of most hits; compared by identity, because `True` equals 1 and must be rejected."""

pread: Any = getattr(os, "pread", None)  # not on Windows, where the store is refused
pwrite: Any = getattr(os, "pwrite", None)


def fast_path_to(access: Access, clocks: Clocks) -> Quick:
    """A function that decides charges quickly on the file of a store."""

    def decide(charges: Sequence[Charge]) -> Decision | None:
        file = access.opened
        if file is None or not charges:
            return None
        places = []
        for key, limit, cost in charges:
            place = file.places.get((key, limit.counter))
            if place is None or type(cost) is not int or not 0 < cost <= limit.max_cost:
                return None
            places.append(place)
        if len(places) == 1:
            return _one(access, file, places[0], charges[0], clocks)
        check_charges(charges)
        return _several(access, file, places, charges, clocks)

    return decide


def single_path_to(access: Access, clocks: Clocks, namespace: str, limit: Limit) -> FastPath:
    """A function that decides hits of one unit on keys of one namespace under one limit."""
    prefix, counter = namespace + ":", limit.counter

    def hit(key: Any, cost: Any) -> Decision | None:
        file = access.opened
        if file is None or cost is not ONE or type(key) is not str:
            return None
        text = prefix + key
        place = file.places.get((text, counter))
        return None if place is None else _one(access, file, place, (text, limit, 1), clocks)

    return hit


def _one(access: Access, file: HostFile, place: Place, charge: tuple[str, Any, int], clocks: Clocks) -> Decision | None:
    _, limit, cost = charge
    digest, shard, _, at = place
    descriptor, clock = file.descriptor, clock_of(limit)
    with file.lock:
        try:
            lockf(descriptor, LOCK, 1, shard)
            now = clocks[0]()
            content = pread(descriptor, SLOT_SIZE, at)
            if now >= access.check_at or len(content) < SLOT_SIZE or not content.startswith(digest):
                return None
            moment = (clocks[1]() if clock else now) // 1000
            state = read(limit, content, file.states)
            if state[limit.last_at] - moment > SKEW:
                return None
            after = limit.try_charge(state, moment, cost)
            if after is None:
                denied = StateDenied()
                denied.basis = limit, state, moment, cost
                return denied
            pwrite(descriptor, write(digest, limit, after, moment, clock, file.states), at)
        except OSError as error:  # the lock is held, or `decide` will say what is wrong
            if error.errno is None:  # raised by a handler of a signal
                raise
            return None
        finally:
            lockf(descriptor, UNLOCK, SHARDS)
    allowed = StateAllowed()
    allowed.basis = limit, after, moment, 0
    return allowed


def _several(
    access: Access, file: HostFile, places: Sequence[Place], charges: Sequence[Charge], clocks: Clocks
) -> Decision | None:
    descriptor = file.descriptor
    charged: list[Any] = []
    bases: list[Basis] = []
    with file.lock:
        try:
            for shard in sorted({place.shard for place in places}):
                lockf(descriptor, LOCK, 1, shard)
            both = [clock() for clock in clocks]
            if both[0] >= access.check_at:
                return None
            for (_, limit, cost), (digest, _, _, at) in zip(charges, places, strict=True):
                content = pread(descriptor, SLOT_SIZE, at)
                if len(content) < SLOT_SIZE or not content.startswith(digest):
                    return None
                clock = clock_of(limit)
                moment = both[clock] // 1000
                state = read(limit, content, file.states)
                after = limit.try_charge(state, moment, cost)
                if after is None or state[limit.last_at] - moment > SKEW:
                    return None
                charged.append((write(digest, limit, after, moment, clock, file.states), at))
                bases.append((limit, after, moment, 0))
            for content, at in charged:
                pwrite(descriptor, content, at)
        except OSError as error:
            if error.errno is None:
                raise
            return None
        finally:
            lockf(descriptor, UNLOCK, SHARDS)
    allowed = StatesAllowed()
    allowed.basis = bases
    return allowed
