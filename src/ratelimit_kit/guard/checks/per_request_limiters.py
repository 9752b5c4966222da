"""Detects limiters that are rebuilt in each request and so lose their counters.

`Limiter("5/minute").hit(key)` inside a view admits everybody: its memory store starts empty every
time. Such a limiter is detected when a second one is built at the same place and the first no longer
exists. A limiter that is built only once, even late, or kept in a dict, is not reported.
"""

from __future__ import annotations

import sys
import weakref
from types import FrameType
from typing import Any

from ratelimit_kit.core.fork import in_forked_child
from ratelimit_kit.errors import ConfigurationError, LostCountersError

_REQUEST_THREADS = frozenset({"WorkerThread.run", "SyncToAsync.thread_handler"})
"""The entry functions of threads in which ASGI frameworks (through anyio or asgiref) run sync views."""

_SCOPES = ("http", "websocket")

_built: dict[tuple[str, int], weakref.ref[Any]] = {}
"""The last limiter built within a request, by file and line."""

_lost: set[tuple[str, int]] = set()
"""Reported places: the error may keep the last limiter alive for a while, and then every other request would pass."""


def built(owner: object) -> ConfigurationError | None:
    """Record that `owner`, which has its own counters, is being built; return an error if its predecessor is lost."""
    place = place_in_request()
    if place is None:
        return None
    previous = _built.get(place)
    _built[place] = weakref.ref(owner)
    if place not in _lost and (previous is None or previous() is not None):
        return None
    _lost.add(place)
    file, line = place
    return LostCountersError(
        f"a limiter with counters in memory is built in each request ({file}, line {line}): its counters are lost with "
        'it, so it limits nothing. Build it once, outside the function, or use store="redis://..."'
    ).without_exit()


def within_request() -> bool:
    """Whether a caller on the stack is serving a request; the parent's request is none of a forked child's."""
    return not _forked_in_request and _has_request()


def is_forked_in_request() -> bool:
    """Whether this process was forked by a function that serves a request, and so does not serve itself."""
    return bool(_forked_in_request)


def _has_request() -> bool:
    frame: FrameType | None = sys._getframe()  # noqa: SLF001 - the documented way to the call stack
    while frame is not None:
        if _begins_a_request(frame):
            return True
        frame = frame.f_back
    return False


def is_built_in_request() -> bool:
    """Whether this is called by a function that serves a request, not by a module's import."""
    return place_in_request() is not None


def place_in_request() -> tuple[str, int] | None:
    """The file and line that builds a limiter in a request; None outside a request, or while importing a module."""
    if _forked_in_request:
        return None
    frame: FrameType | None = sys._getframe()  # noqa: SLF001 - the documented way to the call stack
    place: tuple[str, int] | None = None
    while frame is not None:
        name = frame.f_globals.get("__name__", "")
        if place is None and not name.startswith("ratelimit_kit."):
            place = frame.f_code.co_filename, frame.f_lineno
        if frame.f_code.co_name == "<module>" or name == "ratelimit_kit.django.site":  # it keeps the limiters it builds
            return None
        if _begins_a_request(frame):
            return place
        frame = frame.f_back
    return None


def _begins_a_request(frame: FrameType) -> bool:
    """Whether the call takes a request and a callable to respond with; a request alone may belong to a test."""
    code = frame.f_code
    if code.co_qualname in _REQUEST_THREADS:
        return True
    values = [frame.f_locals.get(name) for name in code.co_varnames[: code.co_argcount]]
    return any(_is_request(value) for value in values) and callable(values[-1])


def _is_request(value: object) -> bool:
    """Whether a value is a WSGI environ or an ASGI scope; `isinstance` would evaluate lazy objects."""
    if type(value) is not dict:
        return False
    return "wsgi.url_scheme" in value or (value.get("type") in _SCOPES and "path" in value)


_forked_in_request: list[bool] = []


def _note() -> None:
    """In a forked child: a request on the call stack is its parent's."""
    if _has_request():
        _forked_in_request[:] = [True]


in_forked_child(_note)
