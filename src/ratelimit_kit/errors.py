"""Every error of the library: what was found, why it matters, what to type, and a stable code.

    RateLimitKitError
    ├── ConfigurationError               a configuration is not valid
    │   ├── QuotaError        RLK101     the text or numbers of a limit are not valid (also a ValueError)
    │   ├── OptionError       RLK103     an unknown, misspelt or contradictory option (a ValueError, TypeError)
    │   ├── StoreURLError     RLK104     a store URL is not valid (also a ValueError)
    │   ├── DependencyError   RLK105     a client library is not installed (also an ImportError)
    │   ├── IdentityError     RLK106     a rule's key returns nothing usable for a request
    │   └── StartupRefused               refuses to start the server (also a SystemExit with status 3)
    │       ├── UnsafeWorkersError     RLK201   a per-process store under several workers
    │       ├── LateWorkersError       RLK202   a running server adds workers to a per-process store
    │       ├── UnsafeCacheError       RLK203   a Django cache that cannot count
    │       ├── StoreUnreachableError  RLK204   the store does not reply at start
    │       ├── ReplicaError           RLK205   the store is a replica, which does not accept writes
    │       ├── NoTimeoutError         RLK206   a client would wait for the store forever
    │       ├── UnreachableLimitError  RLK207   another limit always refuses first
    │       ├── LostCountersError      RLK208   a limiter is built in each request, with new counters
    │       ├── UnusedRulesError       RLK209   rules that no integration applies
    │       ├── MisplacedDecoratorError RLK210  a decorator above its route, which registered the bare view
    │       └── PlatformError          RLK211   a store that is not shared, on a platform that multiplies processes
    ├── StartupWarning                 logged at start, which continues (also a UserWarning)
    │   ├── EvictionWarning       RLK251     the store may evict counters
    │   ├── SplitSlotsWarning     RLK252     the counters of one request are on several nodes of a cluster
    │   ├── ClockOffsetWarning    RLK253     this machine's clock and the store's differ
    │   ├── OtherPortWarning      RLK254     a sibling on another port counts separately
    │   ├── UntrustedProxyWarning RLK255     there is a proxy in front that is not trusted: all its clients share one quota
    │   ├── ModeWarning           RLK256     the mode is "shadow" or "off": no request is refused
    │   ├── RecycledWorkersWarning RLK257    a server recycles its workers, and the counters in them
    │   ├── HelperProcessWarning  RLK258     a process that the application has started counts separately
    │   ├── BlindGuardWarning     RLK259     siblings of this process cannot be seen
    │   ├── TwoVersionsWarning    RLK260     two deployments count under one name with different limits
    │   ├── LooseFallbackWarning  RLK263     a fallback admits more in an outage than the limits that it replaces
    │   ├── UndercountWarning     RLK264     more processes serve than are declared
    │   ├── ReplicasWarning       RLK265     a platform on which a further replica would be refused
    │   ├── MissingFieldWarning   RLK261     a trusted proxy's field does not arrive: all its clients share one quota
    │   └── MergedFieldsWarning   RLK262     the server mixes up a client's X_Forwarded_For and the proxy's field
    ├── CostError             RLK102     a cost that can never be admitted (also a ValueError)
    ├── StoreError            RLK300     the store is alive, but cannot decide this call
    │   ├── StoreUnavailableError  RLK301   the store failed or missed the deadline
    │   ├── StoreContendedError    RLK302   the store is alive, but too busy
    │   └── StoreFullError         RLK304   the store is alive, but has no room for another counter
    ├── ReloadError           RLK303     a changed policy file cannot be applied; the current rules stay in force
    └── LimitExceeded         RLK429     a decorated function was refused; carries the decision

Each code has a heading in docs/reference/errors.md and never changes its meaning.
"""

from __future__ import annotations

import re
from typing import Any, Final

EXIT_STATUS: Final = 3
"""The exit status of a refused start: for gunicorn it means "the application cannot boot", and it stops."""


class RateLimitKitError(Exception):
    """Base of every error that the library raises; `rlk` is its stable code, and so is `code` but in StartupRefused."""

    rlk = "RLK000"
    code: str | int | None

    def __init_subclass__(cls, rlk: str = "") -> None:
        super().__init_subclass__()
        cls.rlk = rlk or cls.rlk

    def __init__(self, message: str) -> None:
        super().__init__(message if re.search(r"\[RLK\d{3}\]$", message) else f"{message} [{self.rlk}]")
        self.code = self.rlk


class ConfigurationError(RateLimitKitError, rlk="RLK100"):
    """A configuration is not valid."""


class QuotaError(ConfigurationError, ValueError, rlk="RLK101"):
    """The text or the numbers of a limit are not valid."""


class CostError(RateLimitKitError, ValueError, rlk="RLK102"):
    """This cost can never be admitted, however long the caller waits."""


class OptionError(ConfigurationError, ValueError, TypeError, rlk="RLK103"):
    """An option is unknown, misspelt or contradicts another.

    It is a TypeError too, because Python raises that for an unknown keyword.
    """


class StoreURLError(ConfigurationError, ValueError, rlk="RLK104"):
    """A store URL is not valid."""


class DependencyError(ConfigurationError, ImportError, rlk="RLK105"):
    """A client library is not installed."""

    @classmethod
    def missing(cls, what: str, needs: str, extra: str) -> DependencyError:
        """The error for `what`, which `needs` a package that the `extra` of this library installs."""
        return cls(f"{what} needs {needs}, which is not installed: pip install 'ratelimit-kit[{extra}]'")


class IdentityError(ConfigurationError, rlk="RLK106"):
    """A rule's key returns nothing usable for a request."""


class StartupRefused(ConfigurationError, SystemExit, rlk="RLK200"):  # noqa: N818 - the name says what happened
    """The server must not start.

    As a SystemExit with status 3 it stops servers instead of starting a crash loop; as a ConfigurationError it can be caught.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.code = EXIT_STATUS

    def without_exit(self) -> ConfigurationError:
        """The same refusal as a plain error, for processes that the server would restart forever if they exited."""
        plain = ConfigurationError(str(self))
        plain.rlk = plain.code = self.rlk
        return plain


class UnsafeWorkersError(StartupRefused, rlk="RLK201"):
    """A store counts per process, and several worker processes would use it."""


class LateWorkersError(StartupRefused, rlk="RLK202"):
    """A running server adds workers to a per-process store: the added ones do not serve requests."""


class UnsafeCacheError(StartupRefused, rlk="RLK203"):
    """A Django cache cannot count: it is not shared, not atomic, or stores nothing."""


class StoreUnreachableError(StartupRefused, rlk="RLK204"):
    """The store does not reply when the application starts."""


class ReplicaError(StartupRefused, rlk="RLK205"):
    """The store is a replica, which does not accept writes, so every decision would fail."""


class NoTimeoutError(StartupRefused, rlk="RLK206"):
    """A client without a timeout: if the store hangs, every request hangs."""


class UnreachableLimitError(StartupRefused, rlk="RLK207"):
    """Another limit of the same rule always refuses first, so this one has no effect."""


class LostCountersError(StartupRefused, rlk="RLK208"):
    """A limiter with its own counters is built in every request, and lost after it."""


class UnusedRulesError(StartupRefused, rlk="RLK209"):
    """Rules are configured, but nothing applies them: no request would be limited."""


class MisplacedDecoratorError(StartupRefused, rlk="RLK210"):
    """A limit was written above its route: the framework serves the bare view, without the limit."""


class PlatformError(StartupRefused, rlk="RLK211"):
    """A store counts per process or per host, and the platform runs several instances, or may."""


class StartupWarning(RateLimitKitError, UserWarning, rlk="RLK250"):  # noqa: N818 - it is a warning
    """Something that an operator should change, although all limits hold for now."""


class EvictionWarning(StartupWarning, rlk="RLK251"):
    """The store may evict counters to make room: their clients then start with a full quota."""


class SplitSlotsWarning(StartupWarning, rlk="RLK252"):
    """The counters of one request are on several nodes of a cluster, and are decided one after the other."""


class ClockOffsetWarning(StartupWarning, rlk="RLK253"):
    """This machine's clock and the store's differ."""


class OtherPortWarning(StartupWarning, rlk="RLK254"):
    """Another process of the same supervisor serves the application on another port, with its own counters."""


class UntrustedProxyWarning(StartupWarning, rlk="RLK255"):
    """There seems to be a proxy in front, but no proxy is trusted: all its clients share one address. Logged once."""


class ModeWarning(StartupWarning, rlk="RLK256"):
    """The mode is "shadow" or "off", so no request is refused; someone chose that, and may have forgotten it."""


class RecycledWorkersWarning(StartupWarning, rlk="RLK257"):
    """The server replaces its worker after a while, and each time every client starts with a full quota."""


class HelperProcessWarning(StartupWarning, rlk="RLK258"):
    """A process that the application has started (a pool, a task queue) counts with counters of its own. Logged once."""


class BlindGuardWarning(StartupWarning, rlk="RLK259"):
    """This process cannot see whether others serve the same application, each with its own counters. Logged once."""


class TwoVersionsWarning(StartupWarning, rlk="RLK260"):
    """Processes with different limits count under one name: a deployment that goes on, or two sites. Logged once."""


class MissingFieldWarning(StartupWarning, rlk="RLK261"):
    """A trusted proxy sends no field with its client's address, or the server drops it: all its clients share one."""


class MergedFieldsWarning(StartupWarning, rlk="RLK262"):
    """The server merges X-Forwarded-For and X_Forwarded_For, so a client can write into the proxy's field."""


class LooseFallbackWarning(StartupWarning, rlk="RLK263"):
    """A fallback admits more than the limits that it replaces, so that an outage would loosen them."""


class UndercountWarning(StartupWarning, rlk="RLK264"):
    """More processes serve by a policy than `workers` declares. Logged once."""


class ReplicasWarning(StartupWarning, rlk="RLK265"):
    """A platform on which the first replica may use a store that is not shared, and a further one is refused."""


class StoreError(RateLimitKitError, rlk="RLK300"):
    """The store did not decide."""


class StoreUnavailableError(StoreError, rlk="RLK301"):
    """The store failed, or missed the deadline; a charge may or may not have been made."""


class StoreContendedError(StoreError, rlk="RLK302"):
    """The store is alive, but too busy; nothing was charged."""


class StoreFullError(StoreError, rlk="RLK304"):
    """The store is alive, but has no room for another counter; nothing was charged."""


class ReloadError(RateLimitKitError, rlk="RLK303"):
    """A changed policy file cannot be applied: the current rules stay in force. Logged, never raised."""


class LimitExceeded(RateLimitKitError, rlk="RLK429"):  # noqa: N818 - the usual name
    """A call was refused by `decision` (None if rebuilt from text, as by Celery); `uncounted` if the store did not decide."""

    def __init__(self, decision: Any, what: str = "", uncounted: bool = False, advice: str = "") -> None:  # noqa: FBT001, FBT002 - for pickle
        self.decision, self.what, self.uncounted, self._advice = decision, what, uncounted, advice
        if isinstance(decision, str):
            self.decision, text = None, decision
        else:
            wait = decision.retry_after
            help_ = f"try again in {wait:.3f} s" if wait < float("inf") else "no wait helps"
            reason = "because its store did not decide" if uncounted else f"by the limit {decision.limit}"
            text = f"{what} was refused {reason}: {help_}{advice}"
        super().__init__(text)

    def __reduce__(self) -> tuple[type[LimitExceeded], tuple[Any, ...]]:
        made_of = self.decision, self.what, self.uncounted, self._advice
        return type(self), self.args if self.decision is None else made_of
