"""Label values of metrics: names from a configuration, and never so many that a metric grows with its users."""

from __future__ import annotations

from typing import Final

MOST: Final = 200
"""Different values of one label; limiters that are named after tenants would otherwise make a series each."""

OTHER: Final = "other"

EVENTS: Final = (
    "late-workers",
    "memory-forked",
    "memory-overflow",
    "other-port",
    "policy-not-reloaded",
    "policy-reloaded",
    "refund-failed",
    "shadow-denied",
    "sole-worker",
    "startup-warning",
    "store-contended",
    "store-outage",
    "store-recovered",
    "untrusted-proxy",
)
"""Every event of the library. Their counters begin at 0: an alert on an increase would miss one that appears with 1."""


class Names:
    """Lets the first `most` names through as they are; every later one becomes "other"."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._known: set[str] = set()

    def __call__(self, name: str) -> str:
        """The name as a label may have it."""
        if name in self._known:
            return name
        if len(self._known) >= self._most:
            return OTHER
        self._known.add(name)
        return name
