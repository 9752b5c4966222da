"""The site's policy, built once from the setting RATELIMIT_KIT, and Django's requests as rules see them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping, Sequence
from functools import cache
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar

from asgiref.sync import async_to_sync, sync_to_async
from django.conf import settings
from django.core.exceptions import BadRequest, PermissionDenied, SuspiciousOperation
from django.core.signals import setting_changed
from django.http import Http404, HttpRequest, HttpResponse
from django.http.multipartparser import MultiPartParserError
from django.http.response import ResponseHeaders

from ratelimit_kit.errors import IdentityError, LimitExceeded, OptionError
from ratelimit_kit.web.callables import Bridge
from ratelimit_kit.web.http.asgi import RawFields
from ratelimit_kit.web.http.messages import ALREADY_CHARGED, AlreadyCharged, Header, Request, Response
from ratelimit_kit.web.http.users import user_text
from ratelimit_kit.web.http.wsgi import EnvironHeaders
from ratelimit_kit.web.policy.policy import Policy
from ratelimit_kit.web.response.bodies import unsettled
from ratelimit_kit.web.response.headers import is_shared, join_to, missing
from ratelimit_kit.web.response.health import LIVE, Health
from ratelimit_kit.web.response.result import CheckResult

SETTING = "RATELIMIT_KIT"

Answer = TypeVar("Answer", bound=HttpResponse)


@cache
def site_policy() -> Policy:
    """The policy in the setting; OptionError without one, because a guessed store would protect nothing."""
    config = getattr(settings, SETTING, None)
    if isinstance(config, str | PathLike):
        return Policy.from_file(Path(config))
    if config is None:
        raise OptionError(
            f'the setting {SETTING} is missing. For example: {SETTING} = {{"store": "redis://127.0.0.1:6379/0", '
            '"rules": [{"limits": "100/minute", "key": "ip"}]}, or the path of a TOML file'
        )
    return Policy.from_config(config)


def _forget(*, setting: str, **_: Any) -> None:
    """Forget the policy when a test overrides its settings; the next request reads them again."""
    if setting in {SETTING, "CACHES"}:
        site_policy.cache_clear()


setting_changed.connect(_forget, dispatch_uid="ratelimit_kit")


def translate(request: HttpRequest) -> Request:
    """Django's request as rules see it."""
    return Request(
        method=request.method or "GET",
        path=request.path,
        peer=request.META.get("REMOTE_ADDR") or None,
        headers=_headers(request),
        raw=request,
        user=lambda: user_text(_known(request, "user")),
        auser=lambda: _auser(request),
        already_charged=_already_charged(request),
        path_params=lambda: None if request.resolver_match is None else request.resolver_match.kwargs,
        mount=request.path.removesuffix(request.path_info),
        bridge=BRIDGE,
    )


async def _apart(function: Callable[[Any], Any], subject: Any) -> Any:
    """Run a plain callable as Django runs sync views under ASGI: it may read `request.user` or ask the database."""
    return await sync_to_async(function, thread_sensitive=True)(subject)


async def _its_value(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


BRIDGE = Bridge(_apart, async_to_sync(_its_value))
"""Lets callables of rules be plain or asynchronous, under WSGI and under ASGI."""


def _headers(request: HttpRequest) -> Mapping[str, str]:
    """The fields as the client sent them: in META, under ASGI, some releases of Django merge names with underscores."""
    scope = getattr(request, "scope", None)
    return EnvironHeaders(request.META) if scope is None else RawFields(scope["headers"])


def _already_charged(request: HttpRequest) -> AlreadyCharged:
    """What was charged already, shared with a middleware around Django through META (the WSGI environ) or the scope."""
    place: MutableMapping[str, Any] = getattr(request, "scope", None) or request.META
    already_charged: AlreadyCharged = place.setdefault(ALREADY_CHARGED, AlreadyCharged())
    return already_charged


def response_of(response: Any) -> Response:
    """Django's response as `count` sees it."""
    return Response(response.status_code, response.headers, response, BRIDGE)


async def _auser(request: HttpRequest) -> str | None:
    return user_text(await _known(request, "auser")())


def _known(request: HttpRequest, name: str) -> Any:
    if not hasattr(request, name):
        raise IdentityError(
            'key="user" finds no request.user: put RateLimitMiddleware after '
            'django.contrib.auth.middleware.AuthenticationMiddleware in MIDDLEWARE, or count by key="ip"'
        )
    return getattr(request, name)


def denial(result: CheckResult) -> HttpResponse:
    """The refusal as a Django response."""
    response = HttpResponse(result.body, status=result.status, reason=result.reason)
    for name, value in result.headers:
        response[name] = value
    return unlogged(response)


def refused(result: CheckResult, response: Any) -> Any:
    """A refusal that somebody else has written, with the fields that tell of the limits."""
    join_to(response.headers, missing(result.limit_fields, response.status_code, response.headers))
    return unlogged(response)


def unlogged(response: Answer) -> Answer:
    """The response, which Django will not log, nor mail to the admins if it is a 503.

    A flood of those is an attack in itself, and an outage is told once, by the log of this library.
    """
    response._has_been_logged = True  # type: ignore[attr-defined]  # noqa: SLF001 - there is no public way
    return response


def health(request: HttpRequest) -> HttpResponse:
    """A view that responds with the health of the site's policy: 200, or 503 when limits cannot be enforced.

    `path("healthz", ratelimit_kit.django.health)`; add its path to "exempt".
    """
    return _told(request, site_policy().health())


def liveness(request: HttpRequest) -> HttpResponse:
    """A view for a liveness probe: this process responds, whatever the state of the store. Add its path to "exempt"."""
    return _told(request, LIVE)


def _told(request: HttpRequest, found: Health) -> HttpResponse:
    response = HttpResponse(b"" if request.method == "HEAD" else found.body(), status=found.http_status)
    for name, value in found.fields():
        response[name] = value
    return unlogged(response)


def finished(result: CheckResult, response: Any, request: HttpRequest) -> Any:
    """The response with the rate-limit fields; what it does not count is refunded once it can no longer change."""
    if not result.touches:
        return response
    if not _is_unsettled(result, response, request):
        return add_fields(result.finish(response_of(response)), response)
    fields = result.judge(response_of(response))
    response.streaming_content = unsettled(response.streaming_content, result)
    _settle_with(request, result)
    return add_fields(fields, response)


async def afinished(result: CheckResult, response: Any, request: HttpRequest) -> Any:
    """Do what `finished` does."""
    if not result.touches:
        return response
    if not _is_unsettled(result, response, request):
        return add_fields(await result.afinish(response_of(response)), response)
    fields = await result.ajudge(response_of(response))
    response.streaming_content = unsettled(response.streaming_content, result)
    _settle_with(request, result)
    return add_fields(fields, response)


def _is_unsettled(result: CheckResult, response: Any, request: HttpRequest) -> bool:
    """Whether an error may still replace the response: under WSGI, if its body is streamed and not from a file."""
    made = getattr(response, "streaming", False) and getattr(response, "file_to_stream", None) is None
    return bool(result.pending) and made and not hasattr(request, "scope")


def _settle_with(request: HttpRequest, result: CheckResult) -> None:
    """Settle the result at the end of the request, because another response, such as a 304, may replace this one."""
    close = request.close

    def closed() -> None:
        try:
            close()
        finally:
            result.give_back()

    request.close = closed  # type: ignore[method-assign]


def failed_with(error: BaseException) -> Response:
    """A response with the status that Django gives an exception raised by a view (django.core.handlers)."""
    status = getattr(error, "status_code", None)  # Django REST framework's exceptions
    if isinstance(error, LimitExceeded):
        status = 503 if error.uncounted else 429
    elif isinstance(error, Http404):
        status = 404
    elif isinstance(error, PermissionDenied):
        status = 403
    elif isinstance(error, SuspiciousOperation | BadRequest | MultiPartParserError):
        status = 400
    return Response(status if isinstance(status, int) else 500, {}, bridge=BRIDGE)


class _ClientFields(ResponseHeaders):
    """The fields of a response, some of which are for one client only and must not reach others.

    Whether a cache may store the response is often decided further out, as by `cache_page`, so this is checked when the
    fields are sent; and the response that Django's own caches pickle does not contain them.
    """

    own: frozenset[str] = frozenset()
    """The names of the fields for one client only, in lower case."""

    def __iter__(self) -> Iterator[str]:
        names = list(super().__iter__())
        if is_shared({name.lower(): self[name] for name in names}):
            names = [name for name in names if name.lower() not in self.own]
        return iter(names)

    def __reduce__(self) -> tuple[Any, ...]:
        return ResponseHeaders, ({name: self[name] for name in super().__iter__() if name.lower() not in self.own},)


def add_fields(fields: Sequence[Header], response: Any) -> Any:
    """The response with the rate-limit fields; list fields are appended to existing ones."""
    if not fields:
        return response
    join_to(response.headers, fields)
    own = {name.lower() for name, _ in fields} - {"access-control-expose-headers"}
    if type(response.headers) is ResponseHeaders:
        response.headers.__class__ = _ClientFields  # a copy would check and encode all fields again
    if isinstance(response.headers, _ClientFields):
        response.headers.own |= own
    return response
