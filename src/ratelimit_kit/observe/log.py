"""Events as log records of the logger `ratelimit_kit`, at most one a second of a kind.

The library configures no handlers; Python prints warnings and worse to stderr by itself.
"""

from __future__ import annotations

import logging
import time
from typing import Any

from ratelimit_kit.core.events import Event

QUIET = 0.9
"""Seconds between two records of the same event; less than between two looks at a policy file, each of which is news."""

_last: dict[tuple[str, str, Any], float] = {}
"""When an event of a kind was last logged, by any observer: many limiters meet one outage together."""


class LoggingObserver:
    """Logs each event with its level; the facts travel as `record.ratelimit`."""

    def __init__(self, name: str = "ratelimit_kit") -> None:
        self._logger = logging.getLogger(name)

    def on_event(self, event: Event) -> None:
        """Log the event, unless the like of it was logged just now."""
        like = (self._logger.name, event.name, event.facts.get("warning", event.facts.get("rule")))
        now = time.monotonic()
        if now - _last.get(like, -QUIET) < QUIET:
            return
        _last[like] = now
        self._logger.log(event.level, "%s", event.message, extra={"ratelimit": {"event": event.name, **event.facts}})
