"""Delivers events, always to the log (logger `ratelimit_kit`), and to every given observer.

An Observer is any object with `on_event(event)`, and with `on_decision(decided)` if it wants every
decision. Both must be fast; an exception in one is logged and never fails a request.
"""

from __future__ import annotations

from collections.abc import Iterable
from logging import getLogger  # not the module, because of this package's own names
from typing import Any, Protocol, runtime_checkable
from weakref import WeakSet

from ratelimit_kit.core.events import Decided, Event
from ratelimit_kit.errors import OptionError
from ratelimit_kit.observe.log import LoggingObserver

__all__ = ["Decided", "DecisionObserver", "Event", "Observer", "Observers", "listening"]


@runtime_checkable
class Observer(Protocol):
    """Receives every event."""

    def on_event(self, event: Event) -> None:
        """Receive an event."""


@runtime_checkable
class DecisionObserver(Observer, Protocol):
    """Receives every event and every decision."""

    def on_decision(self, decided: Decided) -> None:
        """Receive a decision."""


class Observers:
    """Several observers as one; `counting` is true if one of them wants decisions."""

    def __init__(self, observers: Iterable[Observer]) -> None:
        self._observers = list(observers)
        self._deciding = [one for one in self._observers if isinstance(one, DecisionObserver)]
        self.counting = bool(self._deciding)

    def on_event(self, event: Event) -> None:
        """Pass the event to every observer."""
        for observer in self._observers:
            try:
                observer.on_event(event)
            except Exception as error:  # noqa: BLE001 - an observer must not fail a request
                _fault(observer, error)

    def on_decision(self, decided: Decided) -> None:
        """Pass the decision to the observers that want decisions."""
        for observer in self._deciding:
            try:
                observer.on_decision(decided)
            except Exception as error:  # noqa: BLE001 - an observer must not fail a request
                _fault(observer, error)


def listening(observer: Any) -> Observers:
    """The log and the given observers as one: None, an observer, or a list; raises OptionError for anything else."""
    given = list(observer) if isinstance(observer, list | tuple) else [] if observer is None else [observer]
    for one in given:
        if not isinstance(one, Observer):
            raise OptionError(f"observer={one!r} has no method on_event(event): give an observer, or a list of them")
    return Observers([LoggingObserver(), *given])


_faulty: WeakSet[type] = WeakSet()


def _fault(observer: Observer, error: Exception) -> None:
    """Log a failure, once for each kind of observer: the next request would only repeat it."""
    if type(observer) not in _faulty:
        _faulty.add(type(observer))
        getLogger("ratelimit_kit").error("the observer %r failed", observer, exc_info=error)
