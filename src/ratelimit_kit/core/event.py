"""Facts worth telling an operator, as one frozen value; `observe` says who hears them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Event:
    """Something happened that an operator should know.

    `name` is stable ("memory-overflow"), `message` a sentence for people, `facts` the same for
    machines. A key or a secret never appears in it.
    """

    name: str
    message: str
    level: int
    facts: Mapping[str, Any] = field(default_factory=dict)


Listener = Callable[[Event], None]


def unheard(event: Event) -> None:
    """The listener of a store that nobody listens to."""
