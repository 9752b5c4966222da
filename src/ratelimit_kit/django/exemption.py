"""`@exempt`: views that the site's rules do not limit, such as a webhook with a limit of its own.

Rules are checked before Django looks for the view, so that paths without one are limited too. If any view is exempt,
the URL is resolved an extra time, before Django does.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar, cast

from asgiref.sync import iscoroutinefunction
from django.http import HttpRequest

from django.urls import Resolver404, get_resolver, get_urlconf, resolve

View = TypeVar("View", bound=Callable[..., Any])

MARK = "ratelimit_kit_exempt"

_any: list[bool] = []
"""Not empty once a view has been marked in this process."""

_loaded: list[bool] = []
"""Not empty once the views have been imported; a view that is marked later sets `_any` itself."""


def exempt(view: View) -> View:
    """Exempt a view from the middleware's rules; its own decorators still limit it.

    For a class-based view write `@method_decorator(exempt, name="dispatch")`.
    """
    _any[:] = [True]
    if iscoroutinefunction(view):

        @wraps(view)
        async def asynchronous(*args: Any, **kwargs: Any) -> Any:
            return await view(*args, **kwargs)

        wrapper: Any = asynchronous
    else:

        @wraps(view)
        def synchronous(*args: Any, **kwargs: Any) -> Any:
            return view(*args, **kwargs)

        wrapper = synchronous
    setattr(wrapper, MARK, True)
    return cast("View", wrapper)


def is_exempt(request: HttpRequest) -> bool:
    """Whether the request leads to an exempt view."""
    if not _any and _loaded:
        return False
    urlconf = getattr(request, "urlconf", None) or get_urlconf()
    get_resolver(urlconf).url_patterns  # noqa: B018 - the marks are made when the views are imported
    _loaded[:] = [True]
    if not _any:
        return False
    try:
        return bool(getattr(resolve(request.path_info, urlconf).func, MARK, False))
    except Resolver404:
        return False
