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
from pathlib import Path
from typing import Any, Final, NamedTuple

from ratelimit_kit.background import Background
from ratelimit_kit.core.events import Event, Listener
from ratelimit_kit.core.fork import each_in_forked_child, in_forked_child
from ratelimit_kit.errors import StoreError, TwoVersionsWarning
from ratelimit_kit.guard.socket_locks import namespace
from ratelimit_kit.guard.workers.detection import tested
from ratelimit_kit.stores import BaseStore

BEAT_SECONDS: Final = 10.0
"""How often a process writes its entry."""

LASTS_SECONDS: Final = 15.0
"""How long an entry lasts: a beat may be late, and a process that was killed is forgotten after that."""


CHECK_SECONDS: Final = 0.25
"""How often the thread looks whose beat is due: another policy may have begun to serve meanwhile."""

PATIENCE_SECONDS: Final = 1.0
"""How long the thread may take to write the first entry, before it counts as one that does not run."""


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
    """The part of this process in the census of one policy; `version` names its limits.

    `population` is what was last seen: None before the first beat, in a store that keeps no census, and without a name.
    """

    def __init__(self, store: BaseStore, name: str, listener: Listener) -> None:
        self._store = store
        self._name = name
        self.version = ""
        self._listener = listener
        self._renew()
        _of_forks.add(self)

    def _renew(self) -> None:
        """In a forked child: it is a process of its own, and does not serve yet."""
        self.population: Population | None = None
        self._entry = ""
        self._next = self._begun = 0.0
        self._by_calls = False
        self._told = False

    def begin(self) -> bool:
        """Take part from now on, in a thread; false until that has begun, and this must be called before other decisions.

        Where threads do not run (uWSGI starts them only with `enable-threads`) these calls do what it would do.
        """
        if tested() or type(self._store).census is BaseStore.census:
            return True
        _serving.add(self)
        now = time.monotonic()
        self._begun = self._begun or now
        if not _heart.start() or (self._by_calls or (not self._entry and now >= self._begun + PATIENCE_SECONDS)):
            self._by_calls = True
            self.beat()
        return bool(self._entry) and not self._by_calls

    def beat(self) -> None:
        """Write this process's entry if it is time; in an outage, or against a full store, nothing happens."""
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + BEAT_SECONDS
        entry = f"{_me()}:{_host()}:{self.version}"
        try:
            if self._entry not in {"", entry}:  # the policy's file has changed
                self._store.census(self._name, self._entry, 0)
            self._entry = entry
            self._see(self._store.census(self._name, entry, LASTS_SECONDS))
        except StoreError:
            return

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
        """Take this process's entry back when it ends."""
        if self._entry:
            with contextlib.suppress(StoreError):
                self._store.census(self._name, self._entry, 0)

    def _see(self, entries: Iterable[str] | None) -> None:
        if entries is None:
            return
        self.population = counted(entries)
        if self.population.versions > 1 and self._entry and not self._told:
            self._told = True
            warning = TwoVersionsWarning(
                f"processes with other limits count under the name {self._name!r} in {self._store!r} too: each refuses only "
                "what its own limits refuse. While a deployment goes on that is as it should be; two sites need two names: name=..."
            )
            self._listener(Event("startup-warning", str(warning), logging.WARNING, {"warning": warning.rlk}))


_serving: weakref.WeakSet[Census] = weakref.WeakSet()
"""The censuses in which this process takes part."""


def _beat() -> float:
    for census in list(_serving):
        census.beat()
    return CHECK_SECONDS


_heart = Background("census", _beat)

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
