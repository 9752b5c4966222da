"""Contestants, rounds and ratios.

A contestant works for a slice of time and returns samples: seconds per operation. All contestants of
a scenario take turns, round after round, so that whatever else the machine does hits them all alike.
"""

from __future__ import annotations

import asyncio
import gc
import inspect
import statistics
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import repeat
from typing import Any, Literal

Kind = Literal["floor", "ours", "peer"]
Work = Callable[[float], list[float]]
"""Takes seconds to work for, and returns seconds per operation."""


@dataclass
class Contestant:
    """Who takes part: `at_most` is what we promise, a ratio to the floor or, with a `unit`, a median."""

    kind: Kind
    name: str
    work: Work
    at_most: float | None = None
    unit: str = ""
    rounds: list[list[float]] = field(default_factory=list)

    def quantile(self, share: float) -> float:
        """The sample below which that share of all samples lies."""
        samples = sorted(sample for one in self.rounds for sample in one)
        return samples[min(len(samples) - 1, int(share * len(samples)))]

    def ratio(self, floor: Contestant) -> float:
        """The median over the rounds of this contestant's median to the floor's in the same round; 0 to a floor of nothing."""
        if not any(sum(one) for one in floor.rounds):
            return 0.0
        return statistics.median(
            statistics.median(mine) / statistics.median(its)
            for mine, its in zip(self.rounds, floor.rounds, strict=True)
        )


@dataclass(frozen=True)
class Scenario:
    """Contestants that do the same; with a `unit`, promises are about what comes on top of the floor."""

    title: str
    contestants: Callable[[Any], list[Contestant]]
    unit: str = ""
    note: str = ""

    @property
    def name(self) -> str:
        """The name for the command line."""
        return self.contestants.__name__.replace("_", "-")


SCENARIOS: list[Scenario] = []


def scenario(title: str, *, unit: str = "", note: str = "") -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Enter the function that builds a scenario's contestants."""

    def enter(build: Callable[..., Any]) -> Callable[..., Any]:
        SCENARIOS.append(Scenario(title, build, unit, note))
        return build

    return enter


def floor(name: str, work: Work) -> Contestant:
    """The least that the job can cost: what every ratio is taken to."""
    return Contestant("floor", name, work)


def ours(name: str, work: Work, at_most: float | None = None, unit: str = "") -> Contestant:
    """This library."""
    return Contestant("ours", name, work, at_most, unit)


def peer(name: str, work: Work) -> Contestant:
    """Somebody else's library."""
    return Contestant("peer", name, work)


def calls(function: Callable[..., Any], *arguments: Any, chunk: int = 100, check: Callable[[Any], Any] = bool) -> Work:
    """Call `function(*arguments)` again and again; a sample is the mean of `chunk` calls in a row.

    The last answer of every chunk must pass `check`, so that nobody is quick by answering something else.
    """
    loop = _loop(function, arguments)

    def work(seconds: float) -> list[float]:
        samples = []
        end = time.perf_counter() + seconds
        while (begun := time.perf_counter()) < end:
            answer = loop(repeat(None, chunk))
            samples.append((time.perf_counter() - begun) / chunk)
            assert check(answer), f"{function} answered {answer!r}"
        return samples

    return work


def _loop(function: Callable[..., Any], arguments: Sequence[Any]) -> Callable[[Iterable[None]], Any]:
    """A loop that calls as anybody's code does: a method on its object, with the arguments written out.

    `function(*arguments)` would cost a method more than a function, and neither is how they are called.
    """
    owner = function.__self__ if inspect.ismethod(function) else None
    called = "function" if owner is None else f"owner.{function.__name__}"
    names = [f"argument_{number}" for number in range(len(arguments))]
    parameters = ", ".join(["times", *(f"{name}={name}" for name in ["function", "owner", *names])])
    source = f"def loop({parameters}):\n for _ in times:\n  answer = {called}({', '.join(names)})\n return answer"
    space = {"function": function, "owner": owner, **dict(zip(names, arguments, strict=True))}
    exec(source, space)
    return space["loop"]


def tasks(
    stack: ExitStack, number: int, function: Callable[[int], Awaitable[Any]], check: Callable[[Any], Any] = bool
) -> Work:
    """Let `number` tasks await `function(task)` ten times each, in an event loop of their own.

    A sample is the time that went by, over the number of calls.
    """
    runner = stack.enter_context(asyncio.Runner())

    async def one(task: int) -> None:
        for _ in repeat(None, 10):
            answer = await function(task)
        assert check(answer), f"{function} answered {answer!r}"

    async def work(seconds: float) -> list[float]:
        samples = []
        end = time.perf_counter() + seconds
        while (begun := time.perf_counter()) < end:
            await asyncio.gather(*(one(task) for task in range(number)))
            samples.append((time.perf_counter() - begun) / number / 10)
        return samples

    return lambda seconds: runner.run(work(seconds))


def run(scenario: Scenario, place: Any, *, rounds: int, seconds: float) -> list[Contestant]:
    """Let the contestants take turns, each for `seconds` a round."""
    contestants = scenario.contestants(place)
    for contestant in contestants:
        contestant.work(min(seconds, 0.05))
    for number in range(rounds):
        for contestant in _turned(contestants, number):
            gc.collect()
            contestant.rounds.append(contestant.work(seconds))
    return contestants


def _turned(contestants: Sequence[Contestant], number: int) -> list[Contestant]:
    """Who is first in one round is last in the next."""
    first = number % len(contestants)
    return [*contestants[first:], *contestants[:first]]
