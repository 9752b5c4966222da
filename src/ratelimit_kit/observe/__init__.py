"""Who hears of events. By default they are logged under `ratelimit_kit`.

An Observer is any object with `on_event(event)`; it must be quick and must not raise.
"""

from __future__ import annotations

from typing import Protocol

from ratelimit_kit.core.event import Event

__all__ = ["Event", "Observer"]


class Observer(Protocol):
    """Hears of every event."""

    def on_event(self, event: Event) -> None:
        """Take note of the event."""
