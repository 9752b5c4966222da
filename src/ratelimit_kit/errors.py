"""Every error of the library: what was found, why it matters, what to type, and a stable code.

    RateLimitKitError
    ├── ConfigurationError               what was written cannot be honoured
    │   ├── QuotaError        RLK101     the text or the numbers of a limit (also a ValueError)
    │   ├── OptionError       RLK103     an unknown, misspelt or contradictory option (a ValueError, TypeError)
    │   ├── StoreURLError     RLK104     a store URL that names no store (also a ValueError)
    │   ├── DependencyError   RLK105     a client library that is not installed (also an ImportError)
    │   ├── IdentityError     RLK106     a request for which the rule's key yields nothing
    │   └── StartupRefused               refuses to start the server (also a SystemExit with status 3)
    │       ├── UnsafeWorkersError     RLK201   a per-process store under several workers
    │       ├── LateWorkersError       RLK202   a running server adds workers to a per-process store
    │       ├── UnsafeCacheError       RLK203   a Django cache that cannot count
    │       ├── StoreUnreachableError  RLK204   the store does not answer at start
    │       ├── ReplicaError           RLK205   the store is a copy that takes no writes
    │       ├── NoTimeoutError         RLK206   a client that would wait for the store for ever
    │       ├── UnreachableLimitError  RLK207   a limit that another one always keeps from mattering
    │       ├── LostCountersError      RLK208   a limiter built anew in each request, with its counters
    │       ├── UnusedRulesError       RLK209   rules that no front door asks for
    │       └── MisplacedDecoratorError RLK210  a decorator above its route, which has registered the bare view
    ├── StartupWarning                 said at start, which goes on (also a UserWarning)
    │   ├── EvictionWarning       RLK251     the store may throw counters away
    │   ├── SplitSlotsWarning     RLK252     a cluster keeps the counters of one request apart
    │   ├── ClockOffsetWarning    RLK253     this machine's clock and the store's differ
    │   ├── OtherPortWarning      RLK254     a sibling on another port counts for itself
    │   ├── UntrustedProxyWarning RLK255     a proxy stands in front that nobody trusts: all its clients are one
    │   ├── ModeWarning           RLK256     the mode is "shadow" or "off": nobody is refused
    │   ├── MissingFieldWarning   RLK261     a trusted proxy's field does not arrive: all its clients are one
    │   └── MergedFieldsWarning   RLK262     the server takes a client's X_Forwarded_For for the proxy's field
    ├── CostError             RLK102     a cost that no wait can satisfy (also a ValueError)
    ├── StoreError
    │   ├── StoreUnavailableError  RLK301   the store failed or missed the deadline
    │   └── StoreContendedError    RLK302   the store is alive, but too many callers want it at once
    ├── ReloadError           RLK303     a changed policy file cannot be applied; the rules in force stay
    └── LimitExceeded         RLK429     a decorated function was refused; carries the decision

Each code has a heading in docs/reference/errors.md and never changes its meaning.
"""

from __future__ import annotations

from typing import Any, Final

EXIT_STATUS: Final = 3
"""What a refused server exits with: gunicorn takes it for "the application cannot boot" and stops."""


class RateLimitKitError(Exception):
    """Base of every error that the library raises; `rlk` is its stable code.

    `code` is the same, but for StartupRefused, where Python wants the exit status there.
    """

    rlk = "RLK000"
    code: str | int | None

    def __init__(self, message: str) -> None:
        super().__init__(message if message.endswith(f"[{self.rlk}]") else f"{message} [{self.rlk}]")
        self.code = self.rlk


class ConfigurationError(RateLimitKitError):
    """What was written cannot be honoured."""

    rlk = "RLK100"


class QuotaError(ConfigurationError, ValueError):
    """The text or the numbers of a limit make no limit."""

    rlk = "RLK101"


class CostError(RateLimitKitError, ValueError):
    """No wait can satisfy this cost."""

    rlk = "RLK102"


class OptionError(ConfigurationError, ValueError, TypeError):
    """An option is unknown, misspelt or contradicts another.

    It is a TypeError too, for that is what Python raises for an unknown keyword.
    """

    rlk = "RLK103"


class StoreURLError(ConfigurationError, ValueError):
    """A store URL names no store."""

    rlk = "RLK104"


class DependencyError(ConfigurationError, ImportError):
    """A client library is not installed."""

    rlk = "RLK105"

    @classmethod
    def missing(cls, what: str, needs: str, extra: str) -> DependencyError:
        """The error for `what` that `needs` a package, which the `extra` of this one installs."""
        return cls(f"{what} needs {needs}, which is not installed: pip install 'ratelimit-kit[{extra}]'")


class IdentityError(ConfigurationError):
    """A rule's key yields nothing for a request."""

    rlk = "RLK106"


class StartupRefused(ConfigurationError, SystemExit):  # noqa: N818 - it is the refusal itself
    """The server must not start.

    Being a SystemExit with status 3 it ends gunicorn, uvicorn and their like instead of
    sending them into a crash loop; being a ConfigurationError it can be caught in a test.
    """

    rlk = "RLK200"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.code = EXIT_STATUS

    def without_exit(self) -> ConfigurationError:
        """The same refusal as a plain error, for processes whose exit would only be answered with another."""
        plain = ConfigurationError("")
        plain.args = self.args
        plain.rlk = plain.code = self.rlk
        return plain


class UnsafeWorkersError(StartupRefused):
    """A store counts per process, and several worker processes would use it."""

    rlk = "RLK201"


class LateWorkersError(StartupRefused):
    """A running server adds workers to a per-process store: the added ones do not serve."""

    rlk = "RLK202"


class UnsafeCacheError(StartupRefused):
    """A Django cache cannot count: not shared, not atomic, or no counter at all."""

    rlk = "RLK203"


class StoreUnreachableError(StartupRefused):
    """The store does not answer when the application starts."""

    rlk = "RLK204"


class ReplicaError(StartupRefused):
    """The store is a replica: it takes no writes, so every decision would fail."""

    rlk = "RLK205"


class NoTimeoutError(StartupRefused):
    """A client without a time-out: a store that hangs would hang every request with it."""

    rlk = "RLK206"


class UnreachableLimitError(StartupRefused):
    """Another limit of the same rule always refuses first, so this one limits nothing."""

    rlk = "RLK207"


class LostCountersError(StartupRefused):
    """A limiter with counters of its own is built in every request, and forgotten with it."""

    rlk = "RLK208"


class UnusedRulesError(StartupRefused):
    """Rules are configured, but nothing asks for them: no request would be limited."""

    rlk = "RLK209"


class MisplacedDecoratorError(StartupRefused):
    """A limit was put above its route: the framework serves the bare view beneath, without the limit."""

    rlk = "RLK210"


class StartupWarning(RateLimitKitError, UserWarning):  # noqa: N818 - it is a warning
    """Something that an operator should change, although every limit holds for now."""

    rlk = "RLK250"


class EvictionWarning(StartupWarning):
    """The store may throw counters away to make room: their clients then begin anew."""

    rlk = "RLK251"


class SplitSlotsWarning(StartupWarning):
    """The counters of one request lie on several nodes of a cluster, and are decided one after the other."""

    rlk = "RLK252"


class ClockOffsetWarning(StartupWarning):
    """This machine's clock and the store's differ."""

    rlk = "RLK253"


class OtherPortWarning(StartupWarning):
    """Another process of the same supervisor serves the application on another port, with its own counters."""

    rlk = "RLK254"


class UntrustedProxyWarning(StartupWarning):
    """A proxy seems to stand in front, and no proxy is trusted: all its clients share one address. Logged once."""

    rlk = "RLK255"


class ModeWarning(StartupWarning):
    """The mode is "shadow" or "off", so nobody is refused; somebody has chosen that, and may have forgotten it."""

    rlk = "RLK256"


class MissingFieldWarning(StartupWarning):
    """A trusted proxy sends no field with its client's address, or the server drops it: all its clients share one."""

    rlk = "RLK261"


class MergedFieldsWarning(StartupWarning):
    """The server makes one field of X-Forwarded-For and X_Forwarded_For, so that a client may write the proxy's."""

    rlk = "RLK262"


class StoreError(RateLimitKitError):
    """The store gave no decision."""

    rlk = "RLK300"


class StoreUnavailableError(StoreError):
    """The store failed, or missed the deadline; a charge may or may not have been made."""

    rlk = "RLK301"


class StoreContendedError(StoreError):
    """The store is alive, but too many callers want it at once; nothing was charged."""

    rlk = "RLK302"


class ReloadError(RateLimitKitError):
    """A policy file has changed and cannot be applied: the rules that were in force stay. Logged, never raised."""

    rlk = "RLK303"


class LimitExceeded(RateLimitKitError):  # noqa: N818 - the field's usual name
    """A decorated function was not called; `decision` (a Decision) tells which limit refused and for how long."""

    rlk = "RLK429"

    def __init__(self, decision: Any, what: str) -> None:
        self.decision = decision
        self.what = what
        super().__init__(f"{what} was refused by the limit {decision.limit}: try again in {decision.retry_after:.3f} s")

    def __reduce__(self) -> tuple[type[LimitExceeded], tuple[Any, str]]:
        return type(self), (self.decision, self.what)
