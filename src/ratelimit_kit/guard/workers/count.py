"""The number of worker processes that serve this application, as declared by the user or shown by the server."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ratelimit_kit.core.validation import read_digits
from ratelimit_kit.environment import HOSTS, WORKERS, variable
from ratelimit_kit.errors import OptionError
from ratelimit_kit.guard import claims


@dataclass(frozen=True, slots=True)
class Workers:
    """A number of worker processes, and part of a sentence that says where it was found.

    `number` counts the workers that the server has started, up to this one; if it is above `count`, this one
    replaces another in a running server. `stopping`, if the server shows it, tells whether this
    process has been told to exit. `respawns` is true if the server would keep restarting this worker
    when it exits. `initial` is the number of workers at startup, if the server shows it.
    `exact` is false if the server starts as many as it needs; `per_request` is true if each
    request has a process of its own. `manager` is the process that starts the workers and replaces them, one
    generation after the other. `recycles` says after what the server replaces a worker, if it does. `place` names what
    one worker of a server that was reloaded with more of them may have. `beside` is true for a process that the server
    runs beside its workers, and restarts.
    """

    count: int
    found: str
    number: int = 1
    stopping: Callable[[], bool] | None = None
    respawns: bool = False
    initial: int | None = None
    exact: bool = True
    per_request: bool = False
    manager: int | None = None
    recycles: str = ""
    place: str = ""
    beside: bool = False

    @property
    def times(self) -> str:
        """How many times its quota each client would get, for messages."""
        return f"{self.count} x" if self.exact else "several times"

    def has_the_place(self) -> bool:
        """Whether this process is the one that may serve, of several that a reloaded server was told to have."""
        try:
            return bool(self.place) and claims.claim("place", self.place) is None
        except claims.NoProofError:
            return False

    def is_stopping(self) -> bool:
        """Whether this process is known to have been told to exit."""
        return self.stopping is not None and self.stopping()

    @property
    def late(self) -> bool:
        """Whether a running server was told to add this worker."""
        return self.initial is not None and self.number > self.initial and self.count > self.initial

    @property
    def speaks(self) -> bool:
        """Whether this worker prints a refusal: of those that start together, only the first."""
        return self.number <= 1 or self.number > self.count

    @property
    def replaces_another(self) -> bool:
        """Whether a running server has started this worker in place of another."""
        return self.number > self.count


def declared(workers: int | None) -> Workers | None:
    """The number that the user declares: the option `workers`, else the variable RATELIMIT_KIT_WORKERS.

    Raises OptionError for an invalid number or a misspelled variable.
    """
    return _declared("workers", workers, WORKERS, "worker processes")


def declared_hosts(hosts: int | None) -> Workers | None:
    """The number of hosts that the user declares: the option `hosts`, else the variable RATELIMIT_KIT_HOSTS."""
    return _declared("hosts", hosts, HOSTS, "hosts")


def _declared(option: str, given: int | None, name: str, what: str) -> Workers | None:
    text = variable(name)
    if given is not None:
        return Workers(_number(given, f"{option}={given!r}", what), f"{option}={given} is declared")
    if text is None:
        return None
    number = read_digits(text)
    count = _number(text if number is None else number, f"{name}={text!r}", what)
    return Workers(count, f"{name}={text} is declared")


def _number(value: object, given: str, what: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise OptionError(f"{given} is not a number of {what}: give a whole number of 1 or more")
    return value
