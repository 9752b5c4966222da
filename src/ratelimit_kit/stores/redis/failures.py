"""Translates failures of Redis into store errors: unavailable, contended, full, or about one key."""

from __future__ import annotations

import re

from ratelimit_kit.errors import StoreContendedError, StoreError, StoreFullError, StoreUnavailableError
from ratelimit_kit.stores.redis.driver import (
    FAILURES,
    MAX_CONNECTIONS,
    TIMEOUTS,
    AuthenticationError,
    MaxConnectionsError,
    ReadOnlyError,
    ResponseError,
)

EXHAUSTED = ("No connection available", "Too many connections")
"""Messages of redis-py's pools when all connections are in use: older versions have no exception class for it."""


MIN_OWN_PART = 0.8
"""The part of the deadline that a call must have had to itself for its silence to mean an outage."""

_CODE = re.compile(r"(?:^|[\s-])(OOM|WRONGTYPE|BUSY|LOADING|TRYAGAIN) ")
"""The codes of a server that is alive; Redis before version 7 wraps those of commands in the error of their script."""

_CODE_OF_CLASS = {"OutOfMemoryError": "OOM", "BusyLoadingError": "LOADING", "TryAgainError": "TRYAGAIN"}
"""The same for classes of redis-py, which removes the code from the text."""

_SCRIPT_FAILED = re.compile(r"(?<!@)user_script:\d+: ")
"""In an error of the script's own, not of a command that it called: a state that it cannot read."""

_BUSY = {
    "BUSY": "is busy with a script of somebody else's. End it with redis-cli script kill",
    "LOADING": "is still loading its data",
    "TRYAGAIN": "is moving the keys to another node",
}


def is_demoted(error: BaseException) -> bool:
    """Whether the server has been demoted to a replica: a new connection may lead to the new primary.

    Redis before version 7 reports the error of a command only inside that of its script.
    """
    return isinstance(error, ReadOnlyError) or "-READONLY" in str(error)


class Failures:
    """The errors of one store; `name` is its name in messages, `timeout` its deadline in seconds."""

    def __init__(self, name: str, timeout: float, *, clustered: bool) -> None:
        self._name = name
        self.timeout = timeout
        self._clustered = clustered

    def contended(self, connections: int) -> StoreError:
        """The error for a permit that did not come in time: having more callers than connections is not an outage."""
        which = f"all {connections} connections" if connections > 1 else "the connection"
        return StoreContendedError(f"{self._name}: {which} stayed busy for {self.timeout:g} s, nothing was charged")

    def unsent(self, *, connected: bool) -> StoreError:
        """The error for a call that could not be sent within its deadline: the connection was busy, or not opened."""
        return self.contended(1) if connected else self.meaning(TimeoutError())

    def late(self) -> StoreError:
        """The error for a call that waited for its turn until little was left for the reply: that is not an outage."""
        return StoreContendedError(
            f"{self._name}: no reply within {self.timeout:g} s, most of which passed before the call could be sent: "
            "it may have been charged. Let fewer callers wait for one server at once, or raise the timeout"
        )

    def of_call(self, error: BaseException, ready: float, deadline: float, now: float) -> StoreError:
        """The store error for a call that got its connection at `ready` and had to end by `deadline` (seconds of one clock)."""
        if now >= deadline and not isinstance(error, ResponseError | MaxConnectionsError):
            error = TimeoutError()  # whatever redis-py was about to do when its time was over
        if isinstance(error, TIMEOUTS) and deadline - ready < self.timeout * MIN_OWN_PART:
            return self.late()
        return self.meaning(error)

    def told(self, error: Exception) -> Exception:
        """What callers whose decision was lost with an error are told: a mistake of a program's is not an outage."""
        return self.meaning(error) if isinstance(error, FAILURES) else error

    def meaning(self, error: BaseException) -> StoreError:
        """The store error for a redis-py error, with advice on what to do about it."""
        if isinstance(error, MaxConnectionsError) or any(words in str(error) for words in EXHAUSTED):
            return self.contended(MAX_CONNECTIONS)
        if "max number of clients" in str(error):  # the server is alive, and a flood must not make it fail open
            return StoreContendedError(
                f"{self._name} accepts no more connections (maxclients), nothing was charged. Raise maxclients, or let fewer "
                "processes connect"
            )
        reason = str(error).rstrip(".") or type(error).__name__
        if (alive := self._of_server_alive(error, reason)) is not None:
            return alive
        if isinstance(error, TIMEOUTS):
            reason = f"no reply within {self.timeout:g} s"
        advice = "Check that the server runs and that the URL is right"
        if isinstance(error, AuthenticationError):
            advice = "The server runs: check the user and password in the URL"
        elif is_demoted(error):
            advice = "It is a replica: give the address of the primary, or of its Sentinels (redis+sentinel://)"
        elif not self._clustered and any(word in reason for word in ("CROSSSLOT", "MOVED", "same slot")):
            advice = "This is a node of a Redis Cluster: write redis+cluster://... for it"
        return StoreUnavailableError(f"{self._name} gave no decision: {reason}. {advice}")

    def _of_server_alive(self, error: BaseException, reason: str) -> StoreError | None:
        """The store error if the server runs, but did not decide this call; None if no call can be decided."""
        found = _CODE.search(reason)
        code = found[1] if found else _CODE_OF_CLASS.get(type(error).__name__)
        if code == "OOM":
            return StoreFullError(
                f"{self._name} is full, and has no room for another counter: nothing was charged. Raise its maxmemory, or let it evict (maxmemory-policy), which "
                "gives the clients of evicted counters a full quota again"
            )
        if code in _BUSY:
            return StoreContendedError(f"{self._name} {_BUSY[code]}: nothing was charged")
        if code == "WRONGTYPE" or (code is None and _SCRIPT_FAILED.search(reason)):
            return StoreError(
                f"{self._name} holds something under this key that is not a counter of this library: {reason}. Other keys "
                "are counted. Delete it, or choose another prefix or database for the counters"
            )
        return None
