"""Events as log records of the logger `ratelimit_kit`, at most one per second of each kind, or per ten seconds.

The library does not configure handlers; by default Python prints warnings and errors to stderr.
"""

from __future__ import annotations

import logging
import time
from math import inf
from typing import Any

from ratelimit_kit.core.events import Event

QUIET_SECONDS = 0.9
"""Seconds between records of the same event; shorter than between checks of a policy file, which are all logged."""

LONGER_QUIET_SECONDS = dict.fromkeys(("store-contended", "store-full", "store-refused", "refund-failed"), 10.0)
"""The same for what every request may meet, for as long as it lasts."""

MAX_KINDS = 1_000
"""Kinds of events that are remembered; beyond that, one may be logged again a little early."""

_last: dict[tuple[str, str, Any], float] = {}
"""When an event of each kind was last logged, by any observer: one outage affects many limiters."""


class LoggingObserver:
    """Logs each event with its level; the facts are in `record.ratelimit`."""

    def __init__(self, name: str = "ratelimit_kit") -> None:
        self._logger = logging.getLogger(name)

    def on_event(self, event: Event) -> None:
        """Log the event, unless one of its kind was logged just now."""
        like = (self._logger.name, event.name, event.facts.get("warning", event.facts.get("rule")))
        now = time.monotonic()
        if now - _last.get(like, -inf) < LONGER_QUIET_SECONDS.get(event.name, QUIET_SECONDS):
            return
        if len(_last) >= MAX_KINDS:
            _last.clear()
        _last[like] = now
        self._logger.log(event.level, "%s", event.message, extra={"ratelimit": {"event": event.name, **event.facts}})
