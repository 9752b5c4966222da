"""Messages of the process guard: errors and warnings that say what was found, why it matters and what to type."""

from __future__ import annotations

import logging
from typing import Final

from ratelimit_kit.errors import (
    BlindGuardWarning,
    HelperProcessWarning,
    LateWorkersError,
    OtherPortWarning,
    PlatformError,
    RecycledWorkersWarning,
    ReplicasWarning,
    UnsafeWorkersError,
)
from ratelimit_kit.guard.platforms import Finding
from ratelimit_kit.guard.socket_locks import OTHER_PORT, Sibling
from ratelimit_kit.guard.workers.count import Workers

_log = logging.getLogger("ratelimit_kit")

SHARED: Final = 'store="host://" (one machine) or store="redis://..." (several)'
"""What counts over several processes."""

CONSEQUENCES: Final = {
    "shutdown": "this process refuses every request and exits",
    "deny": "this process refuses every request",
    "warn": "this process continues, and each client gets more than its quota",
}


def several(store: str, workers: Workers, remedy: str) -> UnsafeWorkersError:
    """The error for several declared or detected workers; `remedy` replaces the usual advice."""
    return UnsafeWorkersError(
        f"{store} counts per process, and {workers.found}: each client would get {workers.times} its quota. "
        + (remedy or _REMEDY)
    )


_REMEDY: Final = f"Use {SHARED}, or run one worker. If there really is only one process, say so with workers=1 or RATELIMIT_KIT_WORKERS=1."


def several_hosts(store: str, hosts: Workers, *, per_process: bool) -> PlatformError:
    """The error for several declared hosts."""
    return PlatformError(
        f"{store} counts per {_unit(per_process)}, and {hosts.found}: each client would get {hosts.times} its quota. "
        'Use store="redis://..."'
    )


def platform(store: str, found: Finding, *, per_process: bool) -> PlatformError:
    """The error for a platform that multiplies processes, or may."""
    option, variable = ("workers", "RATELIMIT_KIT_WORKERS") if per_process else ("hosts", "RATELIMIT_KIT_HOSTS")
    return PlatformError(
        f"{store} counts per {_unit(per_process)}, and {found.text}: each instance would give every client its whole quota. "
        f'Use store="redis://..."; if there is only one instance, and never more, say so with {option}=1 or {variable}=1'
    )


def replicas(store: str, further: Finding) -> ReplicasWarning:
    """The warning for a platform on which a further replica would be refused."""
    return ReplicasWarning(
        f"{store} is not shared: on {further.platform.title} the first replica starts, and a further one ({further.evidence}) "
        'is refused (RLK211). Use store="redis://..."; if there is only one, and never more, say so with workers=1'
    )


def _unit(per_process: bool) -> str:  # noqa: FBT001 - used in this module only
    return "process" if per_process else "host"


def added(store: str, workers: Workers) -> LateWorkersError:
    """The error for a worker that a running server was told to add, or that it runs beside its workers."""
    told = workers.found if workers.beside else f"a running server was told to have {workers.count} workers"
    which = "this process" if workers.beside else "all but one of them"
    return LateWorkersError(
        f"{store} counts per process, and {told}: {which} may not decide, because each client would get more than "
        f"its quota. Use {SHARED}, or reload the server with one worker (gunicorn: kill -HUP)"
    )


def sibling(store: str, found: Sibling) -> LateWorkersError:
    """The error for another process that serves on the same socket, or a replica on another port."""
    return LateWorkersError(
        f"{store} counts per process, and process {found.pid or 'unknown'} serves the same application on {found.where}: "
        f"each client would get its quota from each. Use {SHARED}, or run one process"
        + ("; if the two are separate sites, set workers=1" if found.where == OTHER_PORT else "")
    )


def helper(store: str, *, refuses: bool) -> HelperProcessWarning:
    """The warning for a process that the application has started, and that decides; it may refuse to."""
    consequence = ". By on_unsafe='deny' such a process refuses every hit" if refuses else ""
    return HelperProcessWarning(
        f"{store} counts per process, and this process was started by the application itself (multiprocessing, Celery or the "
        "like): it has counters of its own, so each such process, and each that replaces one, admits the full quota. Use "
        f"{SHARED}; if that is meant, set allow_per_process=True (workers=1 if only one of them decides){consequence}"
    )


def recycled(store: str, setting: str) -> RecycledWorkersWarning:
    """The warning for a server that replaces its worker; `setting` says after what."""
    return RecycledWorkersWarning(
        f"{store} counts per process, and the server ends its worker after a while ({setting}): with the next one, every client "
        f"gets a new quota. Use {SHARED}, or leave that setting out; if that is meant, set allow_per_process=True"
    )


def blind(store: str, reason: str) -> BlindGuardWarning:
    """The warning for a process that cannot see whether it has siblings."""
    return BlindGuardWarning(
        f"this process cannot see whether others serve the same application: {reason}. {store} counts per process: if there "
        f"are others, each client gets its quota from each. Use {SHARED}, or set workers=1 if there are none"
    )


def other_port(store: str, found: Sibling) -> OtherPortWarning:
    """The warning for another process of the same supervisor that serves on another port."""
    return OtherPortWarning(
        f"process {found.pid or 'unknown'} was started like this one and serves on another port. {store} counts "
        "per process: behind one load balancer each client gets its quota from each. "
        f"Use {SHARED}, or set workers=1 if the two are separate"
    )


def allowed(store: str, word: Workers | None, seen: Workers | None, *, accepted: bool) -> None:
    """Log an override if it has an effect, so that nobody has to discover it from the numbers.

    `word` is what the user declares, `seen` is what was detected on the server.
    """
    if seen is None or seen.count <= 1 or not seen.speaks:
        if word is not None:
            say(logging.INFO, f"{word.found}, so {store} is allowed")
    elif accepted:
        say(
            logging.WARNING,
            f"allow_per_process=True: {store} counts per process, and {seen.found}. Each client gets up to {seen.times} its quota",
        )
    elif word is not None:
        say(logging.WARNING, f"{word.found}, so {store} is allowed although {seen.found}")


def say(level: int, message: str) -> None:
    """Log a message once per process, however many limiters it applies to."""
    if message not in _said:
        _said.add(message)
        _log.log(level, message)


_said: set[str] = set()
