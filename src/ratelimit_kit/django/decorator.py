"""The view decorator: `@ratelimit("5/minute", key="user")` responds with 429 instead of calling the view too often.

It counts on the store in the setting RATELIMIT_KIT, with the same options, and works on function views and, through
`method_decorator`, on class-based views, sync and async.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from typing import Any, TypeVar, cast
from weakref import WeakSet

from asgiref.sync import iscoroutinefunction
from django.conf import settings
from django.http import HttpRequest

from django.urls import get_resolver, get_urlconf
from ratelimit_kit.core.calling import is_asynchronous
from ratelimit_kit.core.limit import Limit
from ratelimit_kit.django.site import afinished, denial, failed_with, finished, site_policy, translate
from ratelimit_kit.errors import OptionError
from ratelimit_kit.web.policy.decorators import bound_rule, wrap_view
from ratelimit_kit.web.policy.policy import Policy
from ratelimit_kit.web.rules.pages import (
    RULES,
    Page,
    decorated,
    label,
    name_of,
    numbered,
    with_methods,
)
from ratelimit_kit.web.rules.rule import Rule, Tiers

View = TypeVar("View", bound=Callable[..., Any])


def ratelimit(*limits: str | Limit | Tiers, **options: Any) -> Callable[[View], View]:
    """Limit a view; takes the limits and options of Rule (key, methods, when, cost, count, shadow, name, ...).

    Without `name`, each view has its own counters, whatever its URLs.
    """
    rule = Rule(*limits, **options)

    def decorate(view: View) -> View:
        if inspect.isclass(view):
            raise OptionError(
                f'{view.__name__} is a class: write @method_decorator(ratelimit(...), name="dispatch") above it'
            )
        if not callable(view):
            raise OptionError('@ratelimit needs limits and parentheses. For example: @ratelimit("5/minute")')
        page = _page(view, rule)

        def call(args: Any, kwargs: Any) -> Any:
            request = _request(args, kwargs)
            guard = _aguarded if _awaits(request) else _guarded
            return guard(rule, page, request, view, args, kwargs)

        async def acall(args: Any, kwargs: Any) -> Any:
            return await _aguarded(rule, page, _request(args, kwargs), view, args, kwargs)

        asynchronous = iscoroutinefunction(view) or is_asynchronous(view)
        return cast("View", wrap_view(view, rule, call, acall, asynchronous=asynchronous))

    return decorate


def _guarded(rule: Rule, page: Page, request: HttpRequest, view: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    """The view's response, or the refusal."""
    policy = site_policy()
    _check_workers(policy)
    bound = bound_rule(policy, rule, _page_of(page, rule, request, view), lambda: _place(request))
    result = policy.check(translate(request), [bound], page.beside)
    if result.denied:
        return denial(result)
    try:
        response = view(*args, **kwargs)
    except BaseException as error:
        result.finish(failed_with(error))
        raise
    return finished(result, response, request)


async def _aguarded(
    rule: Rule, page: Page, request: HttpRequest, view: Callable[..., Any], args: Any, kwargs: Any
) -> Any:
    """Do what `_guarded` does."""
    policy = site_policy()
    _check_workers(policy)
    bound = bound_rule(policy, rule, _page_of(page, rule, request, view), lambda: _place(request))
    result = await policy.acheck(translate(request), [bound], page.beside)
    if result.denied:
        return denial(result)
    try:
        response = await view(*args, **kwargs)
    except BaseException as error:
        await result.afinish(failed_with(error))
        raise
    return await afinished(result, response, request)


def _request(args: Any, kwargs: Any) -> HttpRequest:
    """The request that a view is called with; Django REST framework may wrap Django's."""
    request: Any = args[0] if args else kwargs.get("request")
    if not isinstance(request, HttpRequest) and not isinstance(getattr(request, "_request", None), HttpRequest):
        raise OptionError(
            f"@ratelimit was given {request!r} instead of a request: methods take @method_decorator(ratelimit(...))"
        )
    return cast("HttpRequest", request)


def _awaits(request: HttpRequest) -> bool:
    """Whether this is the `dispatch` of a class with async handlers: plain, but it returns a coroutine."""
    match = request.resolver_match
    cls = getattr(match.func, "view_class", None) if match else None
    return bool(cls is not None and cls.view_is_async)


def _page(view: Callable[..., Any], rule: Rule) -> Page:
    """The page of a view; a method is decorated again in each request, so `_page_of` names it after its class."""
    if isinstance(view, partial) and inspect.ismethod(view.func):
        beside = getattr(view, RULES, ())
        return Page(rule.name or "", None if rule.name else label(beside), beside)
    return decorated(view, rule)


_checked: WeakSet[Policy] = WeakSet()


def _check_workers(policy: Policy) -> None:
    """Check the workers when a view is first used: the site may have no middleware that did."""
    if policy not in _checked:
        policy.check_workers()
        _checked.add(policy)


def _place(request: HttpRequest) -> str:
    """Django's name for the page."""
    match = request.resolver_match
    return "" if match is None else match.view_name or match.route


def _page_of(page: Page, rule: Rule, request: HttpRequest, view: Callable[..., Any]) -> Page:
    """The page; an unnamed method is named after the class that the URL leads to, because all `dispatch` look alike."""
    match = request.resolver_match
    if page.name:
        return page if match else page._replace(late=False)
    found = match.func if match else view
    cls = getattr(found, "view_class", None) or getattr(found, "cls", None)  # Django's, Django REST framework's
    if cls is None:
        return page._replace(name=with_methods(name_of(view), rule))
    own = getattr(view, "__name__", "view")
    of_class = name_of(found) if own in {"dispatch", "view"} else f"{name_of(found)}.{own}"
    same = _classes(getattr(request, "urlconf", None) or get_urlconf() or settings.ROOT_URLCONF).get(cls, 1)
    of_class += f"({same})" if same > 1 else ""
    return page._replace(name=numbered(with_methods(of_class, rule), rule, page.beside))


@lru_cache(maxsize=64)
def _classes(urlconf: Any) -> Mapping[type, int]:
    """The number of each class among those with its name, such as those of one factory, in the order of the URLs."""
    known: dict[str, list[type]] = {}
    ahead = list(get_resolver(urlconf).url_patterns)
    while ahead:
        pattern = ahead.pop(0)
        ahead[:0] = getattr(pattern, "url_patterns", ())
        view = getattr(pattern, "callback", None)
        cls = getattr(view, "view_class", None) or getattr(view, "cls", None)
        if cls is not None and cls not in (alike := known.setdefault(f"{cls.__module__}.{cls.__qualname__}", [])):
            alike.append(cls)
    return {cls: number for alike in known.values() for number, cls in enumerate(alike, start=1)}
