"""Who hears of events: the log always, under `ratelimit_kit`, and every observer that is given.

An Observer is any object with `on_event(event)`, and with `on_decision(decided)` where it wants to hear of
every single decision. Both must be quick; one that raises is logged, and never fails a request.
"""

from __future__ import annotations

from collections.abc import Iterable
from logging import getLogger  # not the module: `logging` is a room of this package
from typing import Any, Protocol, runtime_checkable

from ratelimit_kit.core.events import Decided, Event
from ratelimit_kit.errors import OptionError
from ratelimit_kit.observe.log import LoggingObserver

__all__ = ["Decided", "DecisionObserver", "Event", "Observer", "Observers", "listening"]


@runtime_checkable
class Observer(Protocol):
    """Hears of every event."""

    def on_event(self, event: Event) -> None:
        """Take note of the event."""


@runtime_checkable
class DecisionObserver(Observer, Protocol):
    """Hears of every event and of every decision."""

    def on_decision(self, decided: Decided) -> None:
        """Take note of the decision."""


class Observers:
    """Several observers as one; `counting` is true when one of them wants to hear of decisions."""

    def __init__(self, observers: Iterable[Observer]) -> None:
        self._observers = list(observers)
        self._deciding = [one for one in self._observers if isinstance(one, DecisionObserver)]
        self.counting = bool(self._deciding)

    def on_event(self, event: Event) -> None:
        """Tell every observer of the event."""
        for observer in self._observers:
            try:
                observer.on_event(event)
            except Exception as error:  # noqa: BLE001 - an observer's fault must not become a request's
                _fault(observer, error)

    def on_decision(self, decided: Decided) -> None:
        """Tell those who want to hear of decisions."""
        for observer in self._deciding:
            try:
                observer.on_decision(decided)
            except Exception as error:  # noqa: BLE001 - an observer's fault must not become a request's
                _fault(observer, error)


def listening(observer: Any) -> Observers:
    """The log, and what is given: None, an observer or a list of them."""
    given = list(observer) if isinstance(observer, list | tuple) else [] if observer is None else [observer]
    for one in given:
        if not isinstance(one, Observer):
            raise OptionError(f"observer={one!r} has no method on_event(event): give an observer, or a list of them")
    return Observers([LoggingObserver(), *given])


_faulty: set[type] = set()


def _fault(observer: Observer, error: Exception) -> None:
    """Log a fault, once for each kind of observer: the next request would only repeat it."""
    if type(observer) not in _faulty:
        _faulty.add(type(observer))
        getLogger("ratelimit_kit").error("the observer %r failed", observer, exc_info=error)
