"""The middleware: `"ratelimit_kit.django.RateLimitMiddleware"` in MIDDLEWARE, both sync and async."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.http import HttpRequest, HttpResponseBase

from ratelimit_kit.django.exemption import is_exempt
from ratelimit_kit.django.site import afinished, denial, finished, site_policy, translate
from ratelimit_kit.errors import LimitExceeded
from ratelimit_kit.web.policy.policy import responder_of


class RateLimitMiddleware:
    """Limits every request to the site by the policy in the setting RATELIMIT_KIT.

    Django creates it when the server starts; that raises StartupRefused if the policy could not be enforced there.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        self.get_response = get_response
        self._is_async = iscoroutinefunction(get_response)
        site_policy().start(wsgi=not self._is_async, asynchronous=self._is_async)
        if self._is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        """Respond with 429 or 503, or let the site respond."""
        return self._acall(request) if self._is_async else self._call(request)

    def process_exception(self, request: HttpRequest, error: Exception) -> HttpResponseBase | None:
        """Respond where a view, or a function that it calls, is limited by `ratelimit_kit.ratelimit` itself."""
        if not isinstance(error, LimitExceeded):
            return None
        return denial(responder_of(site_policy()).exceeded(translate(request), error))

    def _call(self, request: HttpRequest) -> HttpResponseBase:
        if is_exempt(request):
            response: HttpResponseBase = self.get_response(request)
            return response
        result = site_policy().check(translate(request))
        if result.denied:
            return denial(result)
        response = self.get_response(request)
        limited: HttpResponseBase = finished(result, response, request)
        return limited

    async def _acall(self, request: HttpRequest) -> HttpResponseBase:
        """Do what `_call` does."""
        if is_exempt(request):
            response: HttpResponseBase = await self.get_response(request)
            return response
        result = await site_policy().acheck(translate(request))
        if result.denied:
            return denial(result)
        response = await self.get_response(request)
        limited: HttpResponseBase = await afinished(result, response, request)
        return limited
