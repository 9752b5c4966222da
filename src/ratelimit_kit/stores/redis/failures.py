"""Translates failures of Redis into store errors: unavailable, contended, full, or about one key."""

from __future__ import annotations

import re

from ratelimit_kit.errors import StoreContendedError, StoreError, StoreFullError, StoreUnavailableError
from ratelimit_kit.stores.redis.driver import (
    FAILURES,
    TIMEOUTS,
    AuthenticationError,
    ClusterDownError,
    InvalidReply,
    MaxConnectionsError,
    NoPermissionError,
    ReadOnlyError,
    ResponseError,
)

EXHAUSTED = ("No connection available", "Too many connections")
"""Messages of redis-py's pools when all connections are in use: older versions have no exception class for it."""


MIN_OWN_PART = 0.8
"""The part of the deadline that a call must have had to itself for its silence to mean an outage."""

MAX_CHAIN = 16
"""How many errors are looked at that led to one."""

_CODE = re.compile(r"(?:^|[\s-])(OOM|WRONGTYPE|BUSY|LOADING|TRYAGAIN) ")
"""The codes of a server that is alive; Redis before version 7 wraps those of commands in the error of their script."""

_CODE_OF_CLASS = {"OutOfMemoryError": "OOM", "BusyLoadingError": "LOADING", "TryAgainError": "TRYAGAIN"}
"""The same for classes of redis-py, which removes the code from the text."""

_SCRIPT_FAILED = re.compile(r"(?<!@)user_script:\d+: ")
"""In an error of the script's own, not of a command that it called: a state that it cannot read."""

_OF_SCRIPT = re.compile(
    r"^Error running script \(.*?\): @user_script:\d+: (@user_script: \d+: -?)?|,? script: \w+,? on @user_script:\d+"
    r"|(?<!@)user_script:\d+: "
)
"""What Redis adds to an error to say where in a script it was raised, which helps nobody who did not write it."""

_GARBAGE = re.compile(r"Protocol Error: (b['\"].*)", re.DOTALL)
"""The message of redis-py about what is not a reply."""

_BUSY = {
    "BUSY": "is busy with another client's script: nothing was charged. To end that script, type redis-cli script kill",
    "LOADING": "is still loading its data: nothing was charged",
    "TRYAGAIN": "is moving the keys to another node: nothing was charged",
}

_URL = "Check that the server runs and that the URL is right"
_PEER = "Check that the URL names a Redis, and what stands between it and this process"
_CLOSED = "Check that the server runs, that the URL names a Redis, and what stands between it and this process"
_LOGIN = "The server runs: check the user and password in the URL"
_RIGHTS = "The server runs, but this user may not do that: it needs EVALSHA, EVAL, GET, PSETEX, DEL and TIME, SELECT for another database, CLUSTER SLOTS and COMMAND in a cluster"
_DENIED = ("ACL failure", "NOPERM", "executing the script can't")
"""What Redis says, in a script too, about a command that the user may not run."""

_UNCOVERED = "slots are not covered"
"""What redis-py says of a cluster in which some slots have no node."""

_CLUSTER = "The node answers, but some of the cluster's nodes do not. Check with redis-cli --cluster check HOST:PORT"
_REPLICA = "It is a replica: give the address of the primary, or of its Sentinels (redis+sentinel://)"
_NODE = "This is a node of a Redis Cluster: write redis+cluster://... for it"


def is_demoted(error: BaseException) -> bool:
    """Whether the server has been demoted to a replica: a new connection may lead to the new primary.

    Redis before version 7 reports the error of a command only inside that of its script.
    """
    return isinstance(error, ReadOnlyError) or "-READONLY" in str(error)


class Failures:
    """The errors of one store; `name` is its name in messages, `timeout` its deadline in seconds, `prefix` that of its keys."""

    def __init__(self, name: str, timeout: float, *, clustered: bool, prefix: str = "rlk") -> None:
        self._name = name
        self._prefix = prefix
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
        told = _told_by_server(error)
        if told is None and now >= deadline and not isinstance(error, ResponseError | MaxConnectionsError):
            error = TimeoutError()  # whatever redis-py was about to do when its time was over
        if told is None and isinstance(error, TIMEOUTS) and deadline - ready < self.timeout * MIN_OWN_PART:
            return self.late()
        return self.meaning(told or error)

    def told(self, error: Exception) -> Exception:
        """What callers whose decision was lost with an error are told: a mistake of a program's is not an outage."""
        return self.meaning(error) if isinstance(error, FAILURES) else error

    def meaning(self, error: BaseException) -> StoreError:
        """The store error for a redis-py error, with advice on what to do about it."""
        if isinstance(error, MaxConnectionsError) or any(words in str(error) for words in EXHAUSTED):
            return StoreContendedError(
                f"{self._name}: no connection was free, nothing was charged. Let fewer callers use it at once, or allow its pool "
                "more connections (max_connections)"
            )
        if "max number of clients" in str(error):  # the server is alive, and a flood must not make it fail open
            return StoreContendedError(
                f"{self._name} accepts no more connections (maxclients), nothing was charged. Raise maxclients, or let fewer "
                "processes connect"
            )
        if isinstance(error, InvalidReply):  # what it quotes must not be taken for a code of Redis
            return self._unavailable(True, _garbage(error), _PEER)
        error = _told_by_server(error) or error
        reason = str(error).rstrip(".") or type(error).__name__
        if (alive := self._of_server_alive(error, reason)) is not None:
            return alive
        answered = isinstance(error, AuthenticationError | ResponseError) or _UNCOVERED in reason
        if _is_cluster_down(error) and "cluster is down" not in reason:
            reason = f"the cluster is down ({reason})"
        if isinstance(error, TIMEOUTS):
            reason = f"no reply within {self.timeout:g} s"
        return self._unavailable(answered, _OF_SCRIPT.sub("", reason), self._advice(error, reason))

    def is_about_one_key(self, error: Exception) -> bool:
        """Whether the server has failed a call because of what it holds under a key."""
        return type(self.meaning(error)) is StoreError

    def _unavailable(self, answered: bool, reason: str, advice: str) -> StoreError:  # noqa: FBT001 - one caller
        verb = "cannot be used" if answered else "does not answer"
        return StoreUnavailableError(f"{self._name} {verb}: {reason}. {advice}")

    def _advice(self, error: BaseException, reason: str) -> str:
        """What to do about a server that decides nothing."""
        if isinstance(error, AuthenticationError) or "unauthenticated" in reason:  # so it ends a long command early
            return _LOGIN
        if isinstance(error, NoPermissionError) or any(words in reason for words in _DENIED):
            return _RIGHTS
        if is_demoted(error):
            return _REPLICA
        if _is_cluster_down(error) or _UNCOVERED in reason:
            return _CLUSTER
        if not self._clustered and any(word in reason for word in ("CROSSSLOT", "MOVED", "same slot")):
            return _NODE
        return _CLOSED if "closed" in reason or _GARBAGE.search(reason) else _URL

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
            return StoreContendedError(f"{self._name} {_BUSY[code]}")
        if code == "WRONGTYPE" or (code is None and _SCRIPT_FAILED.search(reason)):
            return StoreError(
                f"{self._name} holds something under a key of this library (prefix {self._prefix!r}) that is not a counter: "
                f"{_OF_SCRIPT.sub('', reason)}. Other keys are counted. ratelimit-kit inspect KEY names the rule, and "
                "ratelimit-kit reset KEY deletes it; if another program wrote it, choose another prefix or database"
            )
        return None


def _is_cluster_down(error: BaseException) -> bool:
    """Whether a node of a cluster says that others are missing; in Redis before version 7 only inside a script's error."""
    return isinstance(error, ClusterDownError) or "CLUSTERDOWN" in str(error)


def _told_by_server(error: BaseException) -> BaseException | None:
    """What the server of a cluster said before redis-py tried again, and failed or was stopped in the midst of that."""
    seen: BaseException | None = error
    for _ in range(MAX_CHAIN):
        if seen is None:
            return None
        if isinstance(seen, ClusterDownError | NoPermissionError) or _UNCOVERED in str(seen):
            return seen
        seen = seen.__cause__ or seen.__context__
    return None


def _garbage(error: BaseException) -> str:
    """What a server sent instead of a reply, as a part of a sentence."""
    found = _GARBAGE.search(str(error))
    return f"the server sent {found[1]:.60}, which is not a Redis reply" if found else str(error)
