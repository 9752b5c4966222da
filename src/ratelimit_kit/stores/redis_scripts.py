"""The scripts that run in Redis, the arguments they take and the answers they give.

Lua knows no calendar, so fixed windows travel as the ends of the windows around the server's time,
as far as it is known here; a server that lives in another window says so, and is followed.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from importlib.resources import files
from typing import Any

from ratelimit_kit.core.decision import Verdict
from ratelimit_kit.core.limits import FixedWindow, SlidingWindow, TokenBucket
from ratelimit_kit.stores import Charge


class Script:
    """Lua files of this package, one after the other, and the name under which Redis caches them."""

    def __init__(self, *names: str) -> None:
        folder = files("ratelimit_kit.stores")
        self.source = "\n".join(folder.joinpath(name).read_text(encoding="utf-8") for name in names)
        self.sha = hashlib.sha1(self.source.encode(), usedforsecurity=False).hexdigest()


def scripts(clock: str) -> tuple[Script, Script]:
    """The scripts that decide and refund, by the server's clock or by a given one."""
    return (
        Script(clock, "redis_states.lua", "redis_decide.lua"),
        Script(clock, "redis_states.lua", "redis_refund.lua"),
    )


BY_SERVER = scripts("redis_server_clock.lua")
BY_TEST = scripts("redis_given_clock.lua")


class Arguments:
    """Makes the scripts' arguments; `clock` (nanoseconds) replaces the server's in tests."""

    def __init__(self, clock: Callable[[], int] | None) -> None:
        self._clock = clock
        self._offset = 0
        self._ends: dict[str, tuple[int, int, int, int]] = {}

    def decide(self, charges: Sequence[Charge]) -> list[Any]:
        """What redis_decide.lua takes."""
        arguments: list[Any] = []
        for _, limit, cost in charges:
            match limit:
                case SlidingWindow():
                    arguments += ("sw", cost, limit.limit, limit.window, limit.resolution, limit.granule)
                    arguments += _digits(limit)
                case TokenBucket():
                    arguments += ("tb", cost, limit.capacity, limit.unit, limit.rate)
                case FixedWindow():
                    arguments += ("fw", cost, limit.limit, *self._window_ends(limit))
        return arguments + self._time()

    def refund(self, charges: Sequence[Charge], stamp: int | None) -> list[Any]:
        """What redis_refund.lua takes."""
        arguments: list[Any] = ["" if stamp is None else stamp]
        for _, limit, cost in charges:
            match limit:
                case SlidingWindow():
                    arguments += ("sw", cost, limit.window, *_digits(limit))
                case TokenBucket():
                    arguments += ("tb", cost, limit.capacity, limit.unit, limit.rate)
                case FixedWindow():
                    arguments += ("fw", cost, "" if stamp is None else limit.window_end(stamp))
        return arguments + self._time()

    def learn_calendar(self, server_time: int) -> None:
        """Follow the server's clock where this machine's lives in another calendar window."""
        self._offset = server_time - self._local_time()

    def _time(self) -> list[int]:
        return [] if self._clock is None else [self._clock() // 1000]

    def _local_time(self) -> int:
        return (self._clock or time.time_ns)() // 1000

    def _window_ends(self, limit: FixedWindow) -> tuple[int, int, int, int]:
        now = self._local_time() + self._offset
        ends = self._ends.get(limit.id)
        if ends is None or not ends[1] <= now < ends[2]:
            start, end = _window_start(limit, now), limit.window_end(now)
            ends = _window_start(limit, start - 1), start, end, limit.window_end(end)
            self._ends[limit.id] = ends
        return ends


def _window_start(limit: FixedWindow, now: int) -> int:
    """The end of the window before the one that holds `now`."""
    start = limit.window_end(now - limit.longest)
    while (end := limit.window_end(start)) <= now:
        start = end
    return start


def _digits(limit: SlidingWindow) -> tuple[int, int]:
    """How many last digits tell apart the stamps within a window, and the counts within a limit."""
    return len(str(limit.window)), len(str(limit.limit))


def verdicts(charges: Sequence[Charge], answer: list[int] | int) -> list[Verdict]:
    """One Verdict per charge from redis_decide.lua's answer."""
    if isinstance(answer, int):
        ((_, limit, cost),) = charges
        return [_bucket(limit, cost, answer, 0, admitted=True) if answer >= 0 else _bucket(limit, cost, -1 - answer, 0)]
    now, admitted, *rest = answer
    values = iter(rest)
    found = []
    for _, limit, cost in charges:
        match limit:
            case TokenBucket():
                found.append(_bucket(limit, cost, next(values), now, admitted=admitted == 1))
            case FixedWindow():
                state = next(values), next(values)
                look = limit.look(state if state[0] else None, now, 0 if admitted else cost)
                found.append(Verdict(look.fits, limit, look.remaining, look.wait, look.reset, now))
            case SlidingWindow():
                left, wait, reset = next(values), next(values), next(values)
                found.append(Verdict(admitted == 1 or cost <= left, limit, left, wait, reset, now))
    return found


def _bucket(limit: Any, cost: int, held: int, now: int, *, admitted: bool = False) -> Verdict:
    look = limit.look((held, now), now, 0 if admitted else cost)
    return Verdict(look.fits, limit, look.remaining, look.wait, look.reset, now)
