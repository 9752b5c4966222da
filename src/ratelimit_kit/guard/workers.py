"""How many worker processes serve this application, and the user's own word for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ratelimit_kit.environment import WORKERS, variable
from ratelimit_kit.errors import OptionError


@dataclass(frozen=True, slots=True)
class Workers:
    """A number of worker processes, as a sentence part that says where it was found.

    `number` counts the workers that the server has started, up to this one; above `count` this one
    replaces another in a server that runs. `stopping`, where the server shows it, tells whether this
    process has been told to end. `respawns` is true in a worker whose exit would only make the server
    start it again, for ever. `initial` is the number with which the server began, where it shows that.
    `exact` is false where the server starts as many as it needs; `per_request` is true where each
    request has a process of its own.
    """

    count: int
    found: str
    number: int = 1
    stopping: Callable[[], bool] | None = None
    respawns: bool = False
    initial: int | None = None
    exact: bool = True
    per_request: bool = False

    @property
    def times(self) -> str:
        """How much of its quota a client would get."""
        return f"{self.count} x" if self.exact else "several times"

    def is_stopping(self) -> bool:
        """Whether this process is known to have been told to end."""
        return self.stopping is not None and self.stopping()

    @property
    def late(self) -> bool:
        """Whether a server that runs has been told to add this worker."""
        return self.initial is not None and self.number > self.initial and self.count > self.initial

    @property
    def speaks(self) -> bool:
        """Whether this worker prints a refusal: of those that start together, only the first."""
        return self.number <= 1 or self.number > self.count

    @property
    def replaces_another(self) -> bool:
        """Whether a server that runs has started this worker in place of another."""
        return self.number > self.count


def declared(workers: int | None) -> Workers | None:
    """The user's word: the option `workers`, else the environment's RATELIMIT_KIT_WORKERS.

    Raises OptionError for a number that is none, and for a misspelt variable.
    """
    text = variable(WORKERS)
    if workers is not None:
        return Workers(_number(workers, f"workers={workers!r}"), f"workers={workers} is declared")
    if text is None:
        return None
    count = _number(int(text) if text.isascii() and text.isdigit() else text, f"{WORKERS}={text!r}")
    return Workers(count, f"{WORKERS}={text} is declared")


def _number(value: object, given: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise OptionError(f"{given} is no number of worker processes: give a whole number of 1 or more")
    return value
