"""All counters of a memory store: a table per limit, the number of live counters, and the sweep of old ones.

Used under the store's lock, which makes every step atomic. A key has the form `namespace:text`; a limiter has a
table of its own for its namespace, whose keys omit the namespace (see fast_path.py).
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from threading import Lock
from typing import Final, NamedTuple

from ratelimit_kit.core.decision import Basis, Verdict
from ratelimit_kit.core.fixed_window import FixedWindow
from ratelimit_kit.core.limit import Limit, Peek
from ratelimit_kit.stores import Charge
from ratelimit_kit.stores.memory.table import OVERFLOW, Key, Table

Clock = Callable[[], int]
"""Returns nanoseconds, like `time.monotonic_ns`."""

Clocks = tuple[Clock, Clock]
"""The clock for durations, and the one for calendar windows."""

SWEEP_BUDGET: Final = 64
"""Maximum number of counters checked in one call, so that no call pays for a million expired keys."""

REST_MICROSECONDS: Final = 10_000
"""How long no counters are checked after a round in which no table had old ones."""


class _Place(NamedTuple):
    """Where, when and how much to count."""

    table: Table
    limit: Limit
    key: Key
    now: int
    cost: int

    def stamp(self) -> int:
        """The time under which a hit was charged here."""
        state = self.table.states.get(self.key)
        return self.now if state is None else self.limit.stamp(state, self.now)


class Tables:
    """Counters by kind of limit and key, at most `room` of them; `full` is set while there is no room for a new key.

    `clocks` are those for durations and for calendar windows, in nanoseconds.
    """

    __slots__ = ("_order", "_own", "_quiet", "_room", "_shared", "clocks", "full", "live", "lock")

    def __init__(self, room: int, clocks: Clocks) -> None:
        self.lock = Lock()
        self.clocks = clocks
        self._room = room
        self._shared: dict[str, Table] = {}
        self._own: dict[tuple[str, str], Table] = {}
        self._order: deque[Table] = deque()
        self.clear()

    def __iter__(self) -> Iterator[Table]:
        return iter(self._order)

    def clear(self) -> None:
        """Start empty, with `clocks` and `lock`; the tables stay, because fast paths lead to them."""
        for table in self._order:
            table.clear(self._clock(table.limit), self.lock)
        self._quiet = 0
        self.live = 0
        self.full = False

    def find(self, text: str, limit: Limit) -> tuple[Table | None, str]:
        """The table that counts this key under this limit, or None, and the key's name in that table."""
        if self._own:
            space, colon, key = text.partition(":")
            table = self._own.get((space, limit.counter))
            if colon and table is not None:
                return table, key
        return self._shared.get(limit.counter), text

    def own(self, space: str, limit: Limit) -> Table:
        """The table for the keys of one namespace; a new table takes over their counters from the shared one."""
        table = self._own.get((space, limit.counter))
        if table is None:
            table = self._own[space, limit.counter] = self._new(limit)
            shared = self._shared.get(limit.counter)
            if shared is not None:
                before = len(shared.states)
                table.take_over(shared, space + ":")
                self.live += len(shared.states) + len(table.states) - before
        return table

    def try_charge(self, charges: Sequence[Charge]) -> list[Basis] | None:
        """Admit charges on known keys; None if one does not fit or only `decide` can tell."""
        charged = []
        for text, limit, cost in charges:
            table, key = self.find(text, limit)
            if table is None:
                return None
            now = table.clock() // 1000
            state = table.states.get(key)
            if state is None or now >= table.wake_at:
                return None
            state = limit.try_charge(state, now, cost)
            if state is None:
                return None
            charged.append((table.states, key, (limit, state, now, 0)))
        for states, key, basis in charged:
            states[key] = basis[1]
        return [basis for _, _, basis in charged]

    def decide(self, charges: Sequence[Charge]) -> list[Verdict]:
        """Admit all charges or write nothing; one Verdict per charge, in order."""
        found = [self._of(charge) for charge in charges]
        self._sweep([table for table, _ in found])
        places = [
            self._place(table, charge.limit, key, charge.cost)
            for (table, key), charge in zip(found, charges, strict=True)
        ]
        asked = _added_up(places) if self.full else places
        peeks = [table.peek(limit, key, now, cost) for table, limit, key, now, cost in asked]
        if all([peek.fits for peek in peeks]):  # noqa: C419 - a list is faster for so few
            peeks = [self._charge(place) if place.cost else peek for place, peek in zip(places, peeks, strict=True)]
        return [
            Verdict(peek.fits, charge.limit, peek.remaining, peek.wait, peek.reset, place.stamp())
            for charge, peek, place in zip(charges, peeks, places, strict=True)
        ]

    def refund(self, charge: Charge, charged_at: int | None) -> None:
        """Refund one charge."""
        table, key = self._of(charge)
        before = len(table.states)
        table.refund(charge.limit, key, charge.cost, charged_at)
        self.live += len(table.states) - before

    def reset(self, charge: Charge) -> None:
        """Forget the counter of one charge."""
        table, key = self._of(charge)
        if table.states.pop(key, None) is not None:
            self.live -= 1

    def _of(self, charge: Charge) -> tuple[Table, str]:
        table, key = self.find(charge.key, charge.limit)
        if table is None:
            table = self._shared[charge.limit.counter] = self._new(charge.limit)
        if charge.limit.max_lifetime > table.limit.max_lifetime:
            table.limit = charge.limit
        return table, key

    def _new(self, limit: Limit) -> Table:
        table = Table(limit, self._clock(limit), self.lock)
        self._order.append(table)
        return table

    def _clock(self, limit: Limit) -> Clock:
        steady, calendar = self.clocks
        return calendar if isinstance(limit, FixedWindow) else steady

    def _place(self, table: Table, limit: Limit, key: str, cost: int) -> _Place:
        """Where to count a key: if there is no room for a new one, under the shared key."""
        if key in table.states or self.live < self._room:
            return _Place(table, limit, key, table.now(), cost)
        self.full = True
        return _Place(table, limit, OVERFLOW, table.now(), cost)

    def _charge(self, place: _Place) -> Peek:
        self.live += place.key not in place.table.states
        return place.table.charge(place.limit, place.key, place.now, place.cost)

    def _sweep(self, tables: Sequence[Table]) -> None:
        """Check a few old counters of the limits in use, and of one more, chosen in rotation.

        If that one no longer counts anything, it is dropped. When all tables were checked and no counter was old,
        nothing is checked for a moment.
        """
        budget = SWEEP_BUDGET
        next_one = self._order[0]
        for table in (*tables, next_one):
            before = len(table.states)
            budget = table.sweep(budget)
            self.live += len(table.states) - before
        self._quiet = self._quiet + 1 if budget == SWEEP_BUDGET else 0
        if next_one.is_idle() and next_one not in tables:
            self._order.popleft()
            self._drop(next_one)
        else:
            self._order.rotate(-1)
        rest = REST_MICROSECONDS if self._quiet > len(self._order) else 0
        for table in tables:
            table.wake_at = min(table.due(), table.now() + rest)
        if self.full and self.live < self._room:
            self.full = False

    def _drop(self, table: Table) -> None:
        if self._shared.get(table.limit.counter) is table:
            del self._shared[table.limit.counter]
        else:
            self._own = {name: one for name, one in self._own.items() if one is not table}


def _added_up(places: Sequence[_Place]) -> list[_Place]:
    """The places with summed costs, because several charges may be on the shared counter."""
    total: Counter[tuple[int, Key]] = Counter()
    for place in places:
        total[id(place.table), place.key] += place.cost
    return [place._replace(cost=total[id(place.table), place.key]) for place in places]
