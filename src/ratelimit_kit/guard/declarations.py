"""What the user, the server and the platform declare about the processes that would use a store, and what follows."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple, get_args

from ratelimit_kit.core.validation import check_switch, nearest
from ratelimit_kit.errors import OptionError, PlatformError, ReplicasWarning, StartupRefused, StartupWarning
from ratelimit_kit.guard import messages, platforms
from ratelimit_kit.guard.platforms import Finding
from ratelimit_kit.guard.workers.count import Workers, declared, declared_hosts
from ratelimit_kit.guard.workers.detection import detected
from ratelimit_kit.guard.workers.servers import recycling

OnUnsafe = Literal["shutdown", "deny", "warn"]


class Processes(NamedTuple):
    """What the user says about the processes that share a policy or a limiter; see the options of Policy."""

    workers: int | None = None
    hosts: int | None = None
    allow_per_process: bool = False
    on_unsafe: OnUnsafe = "shutdown"

    def check(self) -> None:
        """Raise OptionError for an invalid option."""
        check_switch("allow_per_process", self.allow_per_process)
        if self.on_unsafe not in get_args(OnUnsafe):
            raise OptionError(
                f"on_unsafe={self.on_unsafe!r} is not a valid choice; {nearest(self.on_unsafe, get_args(OnUnsafe))}"
            )
        declared(self.workers)
        declared_hosts(self.hosts)


NOTHING_SAID: Final = Processes()


class Declarations:
    """What is declared about a store, which is `per_process` or `per_host` unless all processes share it.

    `remedy` replaces the usual advice.
    """

    def __init__(self, store: str, said: Processes, *, per_process: bool, per_host: bool, remedy: str) -> None:
        said.check()
        self.per_process = per_process
        self.per_host = per_host
        self._store = store
        self._said = said
        self._remedy = remedy

    def settles(self) -> bool:
        """Whether the user's declaration makes the search for siblings unnecessary."""
        return self._said.allow_per_process or declared(self._said.workers) is not None

    def refusal(self, asked: Finding | None = None) -> StartupRefused | None:
        """The error if several workers, hosts or replicas are declared or detected; of `asked` if that is given."""
        if self._said.allow_per_process or not (self.per_process or self.per_host):
            return None
        workers, hosts = declared(self._said.workers), declared_hosts(self._said.hosts)
        if hosts is not None and hosts.count > 1:
            return messages.several_hosts(self._store, hosts, per_process=self.per_process)
        seen = detected() if self.per_process else None
        several = (workers or seen) if self.per_process else None
        if several is not None and several.count > 1 and not several.beside and not several.has_the_place():
            return self.several(several, late=several is seen and several.late)
        return self.misplaced(asked)

    def misplaced(self, asked: Finding | None = None) -> PlatformError | None:
        """The error if the platform runs several instances, or may, and nobody declares that there is only one."""
        if self._said.allow_per_process or declared_hosts(self._said.hosts) is not None:
            return None
        workers = declared(self._said.workers)
        found = asked or platforms.found()
        if found is None or not found.refuses or (workers is not None and workers.count == 1):
            return None
        return messages.platform(self._store, found, per_process=self.per_process)

    def replicas(self, asked: Finding) -> ReplicasWarning | None:
        """The warning for a platform on which the first replica starts, and a further one does not."""
        further = Finding(asked.platform, asked.platform.further)
        error = None if asked.refuses else self.refusal(further)
        return messages.replicas(self._store, further) if isinstance(error, PlatformError) else None

    def several(self, found: Workers, *, late: bool) -> StartupRefused:
        """The error for several workers; `late` if a running server adds this one."""
        return messages.added(self._store, found) if late else messages.several(self._store, found, self._remedy)

    def recycled(self) -> StartupWarning | None:
        """The warning for a server that replaces its worker, with the counters in it, after a while."""
        setting = recycling() if self.per_process and not self._said.allow_per_process else ""
        return messages.recycled(self._store, setting) if setting else None

    def log_if_allowed(self) -> None:
        """Log that an option allows a per-process store, if it has an effect."""
        if self.per_process:
            messages.allowed(
                self._store, declared(self._said.workers), detected(), accepted=self._said.allow_per_process
            )
