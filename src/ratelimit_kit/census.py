"""The census: how many processes serve by a policy, as they tell each other in the store that they share.

Each serving process writes an entry under the policy's name, at most once in BEAT_SECONDS, in a thread of its own. An
entry ends by itself, so a process that was killed is forgotten.
"""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import logging
import os
import socket
import time
import weakref
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

from ratelimit_kit.background import Background
from ratelimit_kit.core.events import Event, Listener
from ratelimit_kit.core.fork import each_in_forked_child, in_forked_child
from ratelimit_kit.errors import (
    StartupWarning,
    StoreError,
    StoreUnavailableError,
    TwoVersionsWarning,
    UndercountWarning,
)
from ratelimit_kit.guard.socket_locks import namespace
from ratelimit_kit.guard.workers.detection import tested
from ratelimit_kit.guard.workers.uwsgi import AfterRequests
from ratelimit_kit.stores import BaseStore

BEAT_SECONDS: Final = 10.0
"""How often a process writes its entry."""

LASTS_SECONDS: Final = 15.0
"""How long an entry lasts: a beat may be late, and a process that was killed is forgotten after that."""

LOOKS_SECONDS: Final = (1.5, 3.0)
"""When a process looks again after its first beat: others that started with it were not there yet."""

RECENT_SECONDS: Final = 30.0
"""How long a larger number is believed: entries are missing for a while when a store has lost its data."""

BEATS_OF_A_RESTART: Final = 4
"""For so many beats more processes than are declared may be those of a restart."""


class Population(NamedTuple):
    """How many processes serve, on how many hosts, and by how many versions of the policy's limits."""

    processes: int
    hosts: int
    versions: int


def counted(entries: Iterable[str]) -> Population:
    """What the entries of a census tell."""
    parts = [entry.split(":") for entry in entries]
    processes, hosts, versions = ({part[at] for part in parts if len(part) == 3} for at in range(3))
    return Population(len(processes), len(hosts), len(versions))


class Census:
    """The part of this process in the census of one policy; `version` names its limits, `declared` says how many serve.

    `population` is what was last seen: None before the first beat, in a store that keeps no census, and without a name.
    """

    def __init__(self, store: BaseStore, name: str, listener: Listener, declared: int | None = None) -> None:
        self._store = store
        self._name = name
        self.version = ""
        self._listener = listener
        self._declared = declared
        self._heart = Background("census", partial(_work, weakref.ref(self)))
        self._renew()
        _of_forks.add(self)
        if name and type(store).census is not BaseStore.census:
            uwsgi.hook()

    def _renew(self) -> None:
        """In a forked child: it is a process of its own, and does not serve yet."""
        self.population: Population | None = None
        self._entry = ""
        self._times = _Times()
        self._told: set[str] = set()

    @property
    def size(self) -> int:
        """How many processes serve, by what was seen lately; 0 if nothing was."""
        return self._times.most()

    def begin(self) -> bool:
        """Take part from now on, in a thread; false while this must be called before decisions, to do what it would do."""
        if tested() or type(self._store).census is BaseStore.census:
            return True
        _serving.add(self)
        if not uwsgi.has_threads():
            if uwsgi.hooked():
                return True
        elif self._heart.start():
            return True
        self.beat()
        return False

    def beat(self) -> None:
        """Write this process's entry if it is time, or look; in an outage nothing happens."""
        if not self._times.is_due():
            return
        if not self._times.beats():
            self.look()
            return
        entry = f"{_me()}:{_host()}:{self.version}"
        try:
            if self._entry not in {"", entry}:  # the policy's file has changed
                self._store.census(self._name, self._entry, 0)
            self._entry = entry
            self._see(self._store.census(self._name, entry, LASTS_SECONDS))
            self._judge()
        except StoreUnavailableError:
            return
        except StoreError as error:
            self._say("census", f"the census of the processes that serve cannot be kept in {self._store!r}: {error}")

    def look(self) -> None:
        """See who serves now, without taking part; in an outage, what was seen last stays."""
        if self._name:
            with contextlib.suppress(StoreError):
                self._see(self._store.census(self._name, "", 0))

    async def alook(self) -> None:
        """Do what `look` does."""
        if self._name:
            await self._store.in_thread(self.look)

    def leave(self) -> None:
        """Take this process's entry back when it ends, or when its server does."""
        self._heart.stop()
        _serving.discard(self)
        if self._entry:
            with contextlib.suppress(StoreError):
                self._store.census(self._name, self._entry, 0)
            self._entry = ""

    async def aleave(self) -> None:
        """Do what `leave` does."""
        if self._entry:
            await self._store.in_thread(self.leave)

    def work(self) -> float:
        """Do what is due; the seconds until more is."""
        self.beat()
        return self._times.rest()

    def _see(self, entries: Iterable[str] | None) -> None:
        if entries is not None:
            self.population = counted(entries)
            self._times.see(self.population.processes)

    def _judge(self) -> None:
        """Say what is wrong with the population, once."""
        if self.population is None:
            return
        processes, hosts, versions = self.population
        if versions > 1:
            self._say(
                TwoVersionsWarning.rlk,
                TwoVersionsWarning(
                    f"processes with different limits count under the name {self._name!r} in {self._store!r}: {versions} versions "
                    f"in {processes} processes on {hosts} {'host' if hosts == 1 else 'hosts'}. During a deployment this is normal; "
                    "two sites need two names (name=...), or they use up each other's quota"
                ),
            )
        if self._declared is not None and self._times.exceeds(processes, self._declared):
            self._say(UndercountWarning.rlk, undercount(self._declared, processes, self._name))

    def _say(self, what: str, message: object) -> None:
        if what not in self._told:
            self._told.add(what)
            facts = {"warning": message.rlk} if isinstance(message, StartupWarning) else {}
            self._listener(Event("startup-warning", str(message), logging.WARNING, facts))


class _Times:
    """When a process beats and looks, and what it saw when; in seconds of the monotonic clock."""

    def __init__(self) -> None:
        self._next_beat = self._next = 0.0
        self._looks = list(LOOKS_SECONDS)
        self._seen: list[tuple[float, int]] = []
        self._in_a_row = 0

    def is_due(self) -> bool:
        """Whether it is time for a beat or a look."""
        return time.monotonic() >= self._next

    def beats(self) -> bool:
        """Whether it is time for a beat; plans what comes next."""
        now = time.monotonic()
        is_beat = now >= self._next_beat
        if is_beat:
            self._next_beat = now + BEAT_SECONDS
        self._next = min(self._next_beat, now + self._looks.pop(0) if self._looks else self._next_beat)
        return is_beat

    def rest(self) -> float:
        """How long nothing is to be done."""
        return max(0.0, self._next - time.monotonic())

    def see(self, processes: int) -> None:
        """Remember a number of processes."""
        now = time.monotonic()
        self._seen = [one for one in self._seen if one[0] > now - RECENT_SECONDS and one[1] > processes]
        self._seen.append((now, processes))

    def most(self) -> int:
        """The largest number of those that were seen lately; in an outage the last ones stay."""
        return max((processes for _, processes in self._seen), default=0)

    def exceeds(self, processes: int, declared: int) -> bool:
        """Whether more processes serve than are declared, for longer than a restart takes."""
        self._in_a_row = self._in_a_row + 1 if processes > declared else 0
        return self._in_a_row >= BEATS_OF_A_RESTART


def undercount(declared: int, processes: int, name: str) -> UndercountWarning:
    """The warning for fewer declared processes than serve."""
    return UndercountWarning(
        f"workers={declared} is declared (the option, or RATELIMIT_KIT_WORKERS), and {processes} processes serve by the policy "
        f"{name!r}: declare their number on all hosts together, or nothing, for a shared store counts them"
    )


def _work(reference: weakref.ref[Census]) -> float | None:
    """What the thread of a census does, until nobody uses that any more."""
    census = reference()
    return None if census is None else census.work()


_serving: weakref.WeakSet[Census] = weakref.WeakSet()
"""The censuses in which this process takes part."""


def beat_all() -> None:
    """What each census's thread does, where no threads run."""
    for census in list(_serving):
        census.beat()


uwsgi: Final = AfterRequests(beat_all)

_identity: list[str] = []


def _me() -> str:
    """A name for this process that no other has."""
    if not _identity:
        _identity.append(os.urandom(8).hex())
    return _identity[0]


def _host() -> str:
    """A name for this host: a container, or a network namespace, is one of its own."""
    told = [socket.gethostname()]
    with contextlib.suppress(OSError):
        told.append(Path("/proc/sys/kernel/random/boot_id").read_text())
    told.append(namespace())
    return hashlib.blake2b("\0".join(told).encode("utf-8", "replace"), digest_size=6).hexdigest()


def version_of(limits: Iterable[Any]) -> str:
    """A short name for a policy's limits, the same in every process that has the same."""
    return hashlib.blake2b("\0".join(sorted(map(str, limits))).encode("utf-8", "replace"), digest_size=4).hexdigest()


def _leave() -> None:
    for census in list(_serving):
        census.leave()


def _forget() -> None:
    _identity.clear()
    _serving.clear()


_of_forks = each_in_forked_child(lambda census: census._renew())  # noqa: SLF001 - its own module
in_forked_child(_forget)
atexit.register(_leave)
