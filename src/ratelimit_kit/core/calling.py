"""Whether a callable must be awaited."""

from __future__ import annotations

import inspect
from typing import Any


def is_asynchronous(function: Any) -> bool:
    """Whether this is a coroutine function, a partial of one, or an object whose `__call__` is one."""
    return inspect.iscoroutinefunction(function) or (
        not inspect.isroutine(function) and inspect.iscoroutinefunction(getattr(type(function), "__call__", None))  # noqa: B004 - whether it is async matters
    )
