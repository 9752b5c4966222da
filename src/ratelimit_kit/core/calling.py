"""Whether calling something gives something to await."""

from __future__ import annotations

import inspect
from typing import Any


def is_asynchronous(function: Any) -> bool:
    """True of a coroutine function, a partial of one, or an object that is called like one."""
    return inspect.iscoroutinefunction(function) or (
        not inspect.isroutine(function) and inspect.iscoroutinefunction(getattr(type(function), "__call__", None))  # noqa: B004 - its kind matters
    )
