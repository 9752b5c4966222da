"""Processes that all do the same at the same time, as the workers of a server do."""

from __future__ import annotations

import multiprocessing
import random
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from benchmarks.harness import Work
from benchmarks.place import Place

MAX_SAMPLES = 2000
"""How many of its samples a process sends, chosen at random."""

Build = Callable[[int], Callable[[], Any]]
"""Makes what the process with this number does, after the fork: nothing is inherited but what the workers share."""


def crew(place: Place, number: int, build: Build, check: Callable[[Any], Any] = bool) -> Work:
    """Work that `number` processes do together; a sample is the duration of one call in one of them."""
    context = multiprocessing.get_context("fork")
    ends: list[Connection] = []

    def begin() -> None:
        for one in range(number):
            near, far = context.Pipe()
            process = context.Process(target=_work, args=(far, one, build, check), daemon=True)
            process.start()
            far.close()
            ends.append(near)
            place.stack.callback(near.close)
            place.stack.callback(process.join, 10)
            place.stack.callback(process.terminate)  # an end of the pipe is in each process that was forked later

    def work(seconds: float) -> list[float]:
        if not ends:
            begin()
        for end in ends:
            end.send(seconds)
        found = [end.recv() for end in ends]
        assert all(isinstance(one, list) for one in found), found
        return [sample for one in found for sample in one]

    return work


def _work(end: Connection, number: int, build: Build, check: Callable[[Any], Any]) -> None:
    call = build(number)
    timer = time.perf_counter
    while True:
        try:
            seconds = end.recv()
        except EOFError:
            return
        samples, answer = [], None
        try:
            stop = timer() + seconds
            while (begun := timer()) < stop:
                answer = call()
                samples.append(timer() - begun)
            assert check(answer), f"{call} answered {answer!r}"
        except Exception as error:  # noqa: BLE001 - the parent shows it
            end.send(repr(error))
            return
        end.send(random.sample(samples, min(MAX_SAMPLES, len(samples))))
