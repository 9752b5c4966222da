"""Turns: callers of one process that change the same counter do so one after the other, or together.

Without them they would overwrite each other's reads, and fight by compare-and-set until one after the other has won. A
caller holds the turn of each of its keys while it talks to the servers. Who waits for the same single key may be taken
along: one read and one write then decide for all of them. A key is known here only while somebody holds its turn.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from typing import Any

from ratelimit_kit.stores.memcached.conversations import Conversation, Job

MAX_TOGETHER = 64
"""The most callers that are decided together; the rest waits for the next turn."""


class Turn:
    """A caller who waits for the turns of its job's keys, and holds the first `held` of them.

    `result` or `error` is set if somebody else has done the job, `is_gone` if the caller waits for nothing any more.
    """

    __slots__ = ("error", "held", "is_gone", "job", "result")

    def __init__(self, job: Job) -> None:
        self.job = job
        self.is_gone = False
        self.held = 0
        self.result: Any = None
        self.error: Exception | None = None

    def wake(self) -> None:
        """Go on: all turns are held, or the job has been done."""
        raise NotImplementedError


class Turns:
    """Who waits for the turn of which key; a key is in here while its turn is held."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[str, deque[Turn]] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def take(self, keys: Sequence[str]) -> bool:
        """Take the turns of all keys, if all of them are free; whether they were."""
        waiting = self._waiting
        with self._lock:
            for key in keys:
                if key in waiting:
                    return False
            for key in keys:
                waiting[key] = deque()
        return True

    def queue(self, turn: Turn) -> bool:
        """Queue for the turns of all keys; whether they are held at once. Otherwise `wake` will be called."""
        with self._lock:
            return self._advance(turn)

    def leave(self, keys: Sequence[str]) -> None:
        """Pass the turns of keys on to those who have waited longest."""
        awake = []
        waiting = self._waiting
        with self._lock:
            for key in keys:
                if waiting[key]:
                    first = waiting[key].popleft()
                    first.held += 1
                    if self._advance(first):
                        awake.append(first)
                else:
                    del waiting[key]
        for one in awake:
            one.wake()

    def withdraw(self, turn: Turn) -> bool:
        """Wait no longer, and hold nothing; False if it holds all turns by now, or somebody is doing its job."""
        keys = turn.job.keys
        with self._lock:
            queue = self._waiting.get(keys[turn.held]) if turn.held < len(keys) else None
            if not queue or turn not in queue:
                return False
            queue.remove(turn)
        self.leave(keys[: turn.held])
        return True

    def take_along(self, job: Job) -> list[Turn]:
        """Those who wait for a job's only key, and can be decided with it; they hold no turn."""
        riders: list[Turn] = []
        if job.charge is not None and (queue := self._waiting[job.keys[0]]):
            with self._lock:
                while queue and queue[0].job.charge is not None and len(riders) < MAX_TOGETHER - 1:
                    riders.append(queue.popleft())
        return riders

    def put_back(self, job: Job, riders: Sequence[Turn]) -> None:
        """Let those who were taken along wait in front again: the leader was stopped, and nobody knows an outcome."""
        with self._lock:
            self._waiting[job.keys[0]].extendleft([one for one in reversed(riders) if not one.is_gone])

    def give_up(self, turn: Turn) -> bool:
        """Wait no longer, and come never back; whether all turns are held, which then have to be left."""
        with self._lock:
            turn.is_gone = True
        return not self.withdraw(turn) and turn.held == len(turn.job.keys)

    def fail(self, keys: Sequence[str], error: Exception) -> None:
        """Give the error of a leader to all who wait for its keys: they would ask the same server in vain."""
        failed: list[Turn] = []
        with self._lock:
            for key in keys:
                failed += self._waiting[key]
                self._waiting[key].clear()
        for one in failed:
            self.leave(one.job.keys[: one.held])
            one.error = error
            one.wake()

    def _advance(self, turn: Turn) -> bool:
        keys = turn.job.keys
        while turn.held < len(keys):
            key = keys[turn.held]
            if key in self._waiting:
                self._waiting[key].append(turn)
                return False
            self._waiting[key] = deque()
            turn.held += 1
        return True


def together(job: Job, riders: Sequence[Turn]) -> Conversation:
    """The conversation that does a job and those of its riders."""
    return job.conversation([one.charge for one in (job, *[rider.job for rider in riders]) if one.charge is not None])


def share(outcome: Any, riders: Sequence[Turn]) -> Any:
    """Tell riders what has become of their jobs: each has its own result, or all have the same error.

    Returns what is left for the leader.
    """
    failed = isinstance(outcome, Exception)
    for place, rider in enumerate(riders, 1):
        if failed:
            rider.error = outcome
        else:
            rider.result = outcome[place : place + 1]
        rider.wake()
    return outcome[:1] if riders and not failed else outcome
