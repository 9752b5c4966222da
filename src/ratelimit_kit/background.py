"""Work that a thread does from time to time, beside the application's own threads."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable

from ratelimit_kit.core.fork import around_each_fork, each_in_forked_child

PATIENCE_SECONDS = 0.25
"""How long a fork waits for the thread: it may be in the middle of its work."""


class Background:
    """A daemon thread that calls `work` again and again, after as many seconds as it returns, until it returns None.

    It stops for the moment of a fork, because Python warns of forks beside threads, and goes on in the parent only.
    """

    def __init__(self, name: str, work: Callable[[], float | None], delay: float = 0.0) -> None:
        self._name = f"ratelimit_kit {name}"
        self._work = work
        self._delay = delay
        self._renew()
        _all.add(self)

    def _renew(self) -> None:
        """In a forked child: there is no thread, and another one may have held the lock."""
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()

    def start(self) -> bool:
        """Start it, unless it runs; false if this system has no threads."""
        with self._lock:
            if self._thread is None or not self._thread.is_alive() or self._stop.is_set():
                self._stop = threading.Event()
                thread = threading.Thread(target=self._run, args=(self._stop,), name=self._name, daemon=True)
                with contextlib.suppress(RuntimeError):  # no threads on this system, or at the end of the interpreter
                    thread.start()
                    self._thread = thread
            return self._thread is not None

    def _run(self, stop: threading.Event) -> None:
        wait: float | None = self._delay
        while wait is not None and not stop.wait(wait):
            wait = self._work()

    def stop(self) -> None:
        """Let the thread end by itself."""
        self._stop.set()

    @property
    def stops(self) -> bool:
        """Whether the thread is to end: long work asks between its parts."""
        return self._stop.is_set()

    def before_fork(self) -> None:
        """End the thread."""
        if self._thread is not None and self._thread is not threading.current_thread():
            self._stop.set()
            self._thread.join(PATIENCE_SECONDS)

    def after_fork(self) -> None:
        """Start it again in the parent, if the fork has ended it."""
        if self._thread is not None and self._stop.is_set():
            self.start()


_all = each_in_forked_child(lambda one: one._renew())  # noqa: SLF001 - its own module
around_each_fork(_all)
