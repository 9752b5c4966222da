"""How much time a caller has, and what goes wrong between a store and its servers, as store errors."""

from __future__ import annotations

from time import monotonic
from typing import Any

from ratelimit_kit.errors import StoreContendedError, StoreError, StoreFullError, StoreUnavailableError

SILENCE = 0.75
"""The share of a deadline after which a server that does not answer is away. One that was given less, because its caller
had to wait for others first, may only be busy."""

GIVE_BACK = 0.2
"""The share of a deadline that is left for giving back charges, when others keep a call from making its last one."""


LATE_SECONDS = 0.02
"""How late a timer of an event loop that is not overloaded may be."""


class Call:
    """One caller's time: it has until `ends`, and has asked the servers since `asked_at` (monotonic seconds)."""

    __slots__ = ("_postponed", "asked_at", "ends")

    def __init__(self, timeout: float) -> None:
        self.asked_at = monotonic()
        self.ends = self.asked_at + timeout
        self._postponed = False

    def left(self) -> float:
        """The seconds that are left; none or fewer when the time is over."""
        return self.ends - monotonic()

    def postponed(self) -> float:
        """The seconds that are left on an event loop: if that was too busy to be in time, once as many as it was late.

        Otherwise a flood of tasks would look like an outage, although the replies have arrived and only wait to be read.
        """
        late = -self.left()
        if late > LATE_SECONDS and not self._postponed:
            self._postponed = True
            self.ends += 2 * late
        return self.left()


def is_silence(outcome: Any) -> bool:
    """Whether a call has failed at a server that did not answer, which others who wait would ask in vain."""
    return isinstance(outcome, StoreUnavailableError) and isinstance(outcome.__cause__, OSError)


class Failures:
    """The errors of one store; `name` is its name in messages, `timeout` its deadline in seconds."""

    def __init__(self, name: str, timeout: float) -> None:
        self.name = name
        self.timeout = timeout

    @property
    def silence(self) -> str:
        """What a server that has missed the deadline is said to have done."""
        return f"no reply within {self.timeout:g} s"

    def pause(self, call: Call, seconds: float) -> None:
        """Raise StoreContendedError if a call has no time for a pause and another attempt."""
        if call.left() - seconds < GIVE_BACK * self.timeout:
            raise self.contended("others kept changing a counter")

    def contended(self, what: str) -> StoreContendedError:
        """The error for a call that others have kept from ending in time: the store itself is alive."""
        return StoreContendedError(f"{self.name}: {what} for {self.timeout:g} s, nothing was charged")

    def failed(self, server: str, error: OSError, call: Call) -> StoreError:
        """The error for a server that does not answer: only what the operating system raises is an outage."""
        reason = str(error) or type(error).__name__
        if isinstance(error, TimeoutError):
            if monotonic() - call.asked_at < SILENCE * self.timeout:
                return self.contended("others kept the connections or a counter busy")
            reason = self.silence
        return StoreUnavailableError(
            f"{self.name} does not answer: {server}: {reason.rstrip('.')}. "
            "Check that the server runs and that the URL is right"
        )

    def refused(self, server: str, line: str) -> StoreError:
        """The meaning of what a server says instead of doing what it was asked for."""
        if "Too many open connections" in line:  # the server is alive, and a flood must not make it fail open
            return StoreContendedError(
                f"{self.name}: {server} accepts no more connections, nothing was charged. Raise Memcached's -c, or let "
                "fewer processes connect"
            )
        if "out of memory" in line:
            return StoreFullError(
                f"{self.name}: {server} is full, and has no room for this counter. Give it more memory (-m), or let it evict "
                "(no -M), which gives the clients of evicted counters a full quota again"
            )
        if "too large" in line:
            return StoreError(
                f"{self.name}: {server} takes no item as large as this counter: nothing was charged. Raise its item size "
                "(-I), or choose a lower resolution for the limit"
            )
        return StoreError(f"{self.name}: {server} refused a command, nothing was charged: {line}")

    def invalid(self, server: str, shown: str) -> StoreError:
        """The error for what is not a reply to what was asked: an outage, because no such server can decide anything."""
        if "Too many open connections" in shown:
            return self.refused(server, shown)
        return StoreUnavailableError(
            f"{self.name} cannot be used: {server} sent {shown}, which is not a Memcached reply. Check that the "
            "URL names a Memcached, and what stands between it and this process"
        )
