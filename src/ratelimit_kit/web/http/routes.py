"""The routes of an ASGI application with their full paths, through mounts and included routers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

PATHS: Final = "_ratelimit_kit_paths"
"""The attribute of an application with its routes by id, each with its full paths; keeping a route keeps its id."""


def paths_to(application: Any, route: Any) -> list[str]:
    """The full paths from an application to a route; several if a router is included more than once."""
    known: dict[int, tuple[Any, list[str]]] = getattr(application, "__dict__", {}).setdefault(PATHS, {})
    if id(route) not in known:
        for path, found in routes_of(getattr(application, "routes", ())):
            paths = known.setdefault(id(found), (found, []))[1]
            if path not in paths:
                paths.append(path)
        known.setdefault(id(route), (route, [getattr(route, "path", "")]))
    return known[id(route)][1]


def routes_of(routes: Iterable[Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every route with its full path, including the prefixes of mounted applications, hosts and included routers.

    FastAPI used to copy the routes of an included router; newer versions keep the router, as `original_router`. A
    mounted application may be wrapped in middleware.
    """
    for route in routes:
        path = prefix + getattr(route, "path", "") + getattr(route, "host", "")
        included = getattr(route, "original_router", None)
        if included is not None:
            path += getattr(getattr(route, "include_context", None), "prefix", "")
        yield path, route
        inner = included or route
        while not getattr(inner, "routes", None) and hasattr(inner, "app"):
            inner = inner.app
        yield from routes_of(getattr(inner, "routes", None) or (), path)
