"""Label values of metrics: names from the configuration, limited in number so that they do not grow with users."""

from __future__ import annotations

from typing import Final

MAX_LABELS: Final = 200
"""Maximum number of values of one label; otherwise limiters named after tenants would each create a series."""

OTHER: Final = "other"

EVENTS: Final = (
    "host-max-keys",
    "host-new-start",
    "host-overflow",
    "late-workers",
    "memory-forked",
    "memory-overflow",
    "missing-field",
    "other-port",
    "policy-not-reloaded",
    "policy-reloaded",
    "refund-failed",
    "shadow-denied",
    "shared-counter",
    "sole-worker",
    "startup-warning",
    "store-contended",
    "store-full",
    "store-outage",
    "store-recovered",
    "store-refused",
    "untrusted-proxy",
)
"""Every event of the library. Counters start at 0: an alert on an increase would miss one that first appears as 1."""


class Names:
    """Keeps the first `most` names; every later one becomes "other"."""

    def __init__(self, most: int = MAX_LABELS) -> None:
        self._most = most
        self._known: set[str] = set()

    def __call__(self, name: str) -> str:
        """The label for a name."""
        if name in self._known:
            return name
        if len(self._known) >= self._most:
            return OTHER
        self._known.add(name)
        return name
