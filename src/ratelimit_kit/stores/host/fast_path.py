"""The fast path to a file of counters, taken by most hits: on keys whose slots this process has seen before.

It returns None where only `decide` can tell: for a key that is new or elsewhere, a lock that is held, a file that is to be
looked at, a denial by one of several limits, a clock that was set back. Nothing is written then.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from typing import Any

from ratelimit_kit.core.decision import Basis, Decision, StateAllowed, StateDenied, StatesAllowed
from ratelimit_kit.core.limit import SKEW
from ratelimit_kit.stores import Charge, check_charges
from ratelimit_kit.stores.host import states
from ratelimit_kit.stores.host.access import Access
from ratelimit_kit.stores.host.counters import Now, clock_of
from ratelimit_kit.stores.host.files.file import LOCK, UNLOCK, HostFile, Place, lockf
from ratelimit_kit.stores.host.files.layout import SLOT_SIZE

Quick = Callable[[Sequence[Charge]], Decision | None]


def fast_path_to(access: Access, now: Callable[[], Now]) -> Quick:
    """A function that decides quickly on the file of a store."""
    monotonic = time.monotonic

    def decide(charges: Sequence[Charge]) -> Decision | None:
        file = access.opened
        if file is None or monotonic() >= access.check_at:
            return None
        places = []
        for key, limit, cost in charges:
            place = file.places.get((key, limit.counter))
            if place is None or type(cost) is not int or not 0 < cost <= limit.max_cost:
                return None
            places.append(place)
        if len(places) == 1:
            return _one(file, places[0], charges[0], now) if charges else None
        check_charges(charges)
        return _several(file, places, charges, now)

    return decide


def _one(file: HostFile, place: Place, charge: Charge, now: Callable[[], Now]) -> Decision | None:
    _, limit, cost = charge
    digest, shard, _, at = place
    descriptor, clock = file.descriptor, clock_of(limit)
    with file.lock:
        try:
            lockf(descriptor, LOCK, 1, shard)
            content = os.pread(descriptor, SLOT_SIZE, at)
            if not content.startswith(digest):
                return None
            state = states.read(limit, content, file.states)
            moment = now()[clock]
            after = limit.try_charge(state, moment, cost)
            if after is None:
                if state[limit.last_at] - moment > SKEW:
                    return None
                denied = StateDenied()
                denied.basis = limit, state, moment, cost
                return denied
            os.pwrite(descriptor, states.write(digest, limit, after, moment, clock, file.states), at)
        except OSError:  # the lock is held, or `decide` will say what is wrong
            return None
        finally:
            lockf(descriptor, UNLOCK)
    allowed = StateAllowed()
    allowed.basis = limit, after, moment, 0
    return allowed


def _several(
    file: HostFile, places: Sequence[Place], charges: Sequence[Charge], now: Callable[[], Now]
) -> Decision | None:
    descriptor = file.descriptor
    with file.lock:
        try:
            for shard in sorted({place.shard for place in places}):
                lockf(descriptor, LOCK, 1, shard)
            both = now()
            charged: list[Any] = []
            for (_, limit, cost), (digest, _, _, at) in zip(charges, places, strict=True):
                content = os.pread(descriptor, SLOT_SIZE, at)
                if not content.startswith(digest):
                    return None
                clock = clock_of(limit)
                after = limit.try_charge(states.read(limit, content, file.states), both[clock], cost)
                if after is None:
                    return None
                charged.append((limit, after, both[clock], clock, digest, at))
            for limit, after, moment, clock, digest, at in charged:
                os.pwrite(descriptor, states.write(digest, limit, after, moment, clock, file.states), at)
        except OSError:  # the lock is held, or `decide` will say what is wrong
            return None
        finally:
            lockf(descriptor, UNLOCK)
    allowed = StatesAllowed()
    bases: list[Basis] = [(limit, after, moment, 0) for limit, after, moment, _, _, _ in charged]
    allowed.basis = bases
    return allowed
