"""All counters of a memory store: a table per limit, how many are alive, and who looks at old ones.

Used under the store's lock, which is what makes every step atomic. A key reads `namespace:text`; a
limiter has a table of its own for its namespace, whose keys are the bare texts (see lanes.py).
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from threading import Lock
from typing import Final, NamedTuple

from ratelimit_kit.core.decision import Basis, Look, Verdict
from ratelimit_kit.core.limits import FixedWindow, Limit
from ratelimit_kit.stores import Charge
from ratelimit_kit.stores.memory.table import OVERFLOW, Counters, Key

Clock = Callable[[], int]
"""Nanoseconds, like `time.monotonic_ns`."""

Clocks = tuple[Clock, Clock]
"""The clock for spans, and the one for calendar windows."""

SWEEP: Final = 64
"""Counters looked at in one call at most, so that no call pays for a million expired keys."""

REST: Final = 10_000
"""Microseconds for which nobody looks at old counters after all tables had none."""


class _Place(NamedTuple):
    """Where, when and how much to count."""

    table: Counters
    key: Key
    now: int
    cost: int


class Tables:
    """Counters by limit and key, at most `room` of them; `full` is set while a key finds none.

    `clocks` are those for spans and for calendar windows, in nanoseconds.
    """

    __slots__ = ("_calm", "_own", "_room", "_shared", "_turns", "clocks", "full", "live", "lock")

    def __init__(self, room: int, clocks: Clocks) -> None:
        self.lock = Lock()
        self.clocks = clocks
        self._room = room
        self._shared: dict[str, Counters] = {}
        self._own: dict[tuple[str, str], Counters] = {}
        self._turns: deque[Counters] = deque()
        self.clear()

    def __iter__(self) -> Iterator[Counters]:
        return iter(self._turns)

    def clear(self) -> None:
        """Start from nothing, by `clocks` and `lock`; tables stay, for lanes lead to them."""
        for table in self._turns:
            table.clear(self._clock(table.limit), self.lock)
        self._calm = 0
        self.live = 0
        self.full = False

    def find(self, text: str, limit: Limit) -> tuple[Counters | None, str]:
        """The table that counts this key under this limit, if there is one, and what it is called there."""
        if self._own:
            space, colon, key = text.partition(":")
            table = self._own.get((space, limit.id))
            if colon and table is not None:
                return table, key
        return self._shared.get(limit.id), text

    def own(self, space: str, limit: Limit) -> Counters:
        """The table for the keys of one namespace; it takes over what was counted for them elsewhere."""
        table = self._own.get((space, limit.id))
        if table is None:
            table = self._own[space, limit.id] = self._new(limit)
            shared = self._shared.get(limit.id)
            if shared is not None:
                before = len(shared.states)
                table.take_over(shared, space + ":")
                self.live += len(shared.states) + len(table.states) - before
        return table

    def take(self, charges: Sequence[Charge]) -> list[Basis] | None:
        """Admit charges on keys that are known; None when one does not fit, or the long way has to be taken."""
        taken = []
        for text, limit, cost in charges:
            table, key = self.find(text, limit)
            if table is None:
                return None
            now = table.clock() // 1000
            state = table.states.get(key)
            if state is None or now >= table.wake:
                return None
            state = limit.take(state, now, cost)
            if state is None:
                return None
            taken.append((table.states, key, (limit, state, now, 0)))
        for states, key, basis in taken:
            states[key] = basis[1]
        return [basis for _, _, basis in taken]

    def decide(self, charges: Sequence[Charge]) -> list[Verdict]:
        """Admit all charges or write nothing; one Verdict per charge, in order."""
        found = [self._of(charge) for charge in charges]
        self._sweep([table for table, _ in found])
        places = [self._place(table, key, charge.cost) for (table, key), charge in zip(found, charges, strict=True)]
        looked = _added_up(places) if self.full else places
        looks = [table.look(key, now, cost) for table, key, now, cost in looked]
        if all([look.fits for look in looks]):  # noqa: C419 - a list is quicker for the few there are
            looks = [self._charge(place) if place.cost else look for place, look in zip(places, looks, strict=True)]
        return [
            Verdict(look.fits, charge.limit, look.remaining, look.wait, look.reset, place.now)
            for charge, look, place in zip(charges, looks, places, strict=True)
        ]

    def refund(self, charge: Charge, stamp: int | None) -> None:
        """Give one charge back."""
        table, key = self._of(charge)
        before = len(table.states)
        table.refund(key, charge.cost, stamp)
        self.live += len(table.states) - before

    def reset(self, charge: Charge) -> None:
        """Forget the counter of one charge."""
        table, key = self._of(charge)
        if table.states.pop(key, None) is not None:
            self.live -= 1

    def _of(self, charge: Charge) -> tuple[Counters, str]:
        table, key = self.find(charge.key, charge.limit)
        if table is None:
            table = self._shared[charge.limit.id] = self._new(charge.limit)
        return table, key

    def _new(self, limit: Limit) -> Counters:
        table = Counters(limit, self._clock(limit), self.lock)
        self._turns.append(table)
        return table

    def _clock(self, limit: Limit) -> Clock:
        steady, calendar = self.clocks
        return calendar if isinstance(limit, FixedWindow) else steady

    def _place(self, table: Counters, key: str, cost: int) -> _Place:
        """Where there is no room for a new key it counts under the shared one."""
        if key in table.states or self.live < self._room:
            return _Place(table, key, table.now(), cost)
        self.full = True
        return _Place(table, OVERFLOW, table.now(), cost)

    def _charge(self, place: _Place) -> Look:
        self.live += place.key not in place.table.states
        return place.table.charge(place.key, place.now, place.cost)

    def _sweep(self, tables: Sequence[Counters]) -> None:
        """Look at a few old counters of the limits in use, and of one more, whose turn it is.

        A limit that counts nothing any more is forgotten when its turn comes. When all tables have had
        their turn and nothing was old, everybody rests for a moment.
        """
        budget = SWEEP
        turn = self._turns[0]
        for table in (*tables, turn):
            before = len(table.states)
            budget = table.sweep(budget)
            self.live += len(table.states) - before
        self._calm = self._calm + 1 if budget == SWEEP else 0
        if turn.is_idle() and turn not in tables:
            self._turns.popleft()
            self._drop(turn)
        else:
            self._turns.rotate(-1)
        rest = REST if self._calm > len(self._turns) else 0
        for table in tables:
            table.wake = min(table.due(), table.now() + rest)
        if self.full and self.live < self._room:
            self.full = False

    def _drop(self, table: Counters) -> None:
        if self._shared.get(table.limit.id) is table:
            del self._shared[table.limit.id]
        else:
            self._own = {name: one for name, one in self._own.items() if one is not table}


def _added_up(places: Sequence[_Place]) -> list[_Place]:
    """What to look for where several charges may meet in a shared counter: their costs together."""
    total: Counter[tuple[int, Key]] = Counter()
    for place in places:
        total[id(place.table), place.key] += place.cost
    return [place._replace(cost=total[id(place.table), place.key]) for place in places]
