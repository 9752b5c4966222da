from __future__ import annotations

from typing import Any

from django.http import HttpResponse, StreamingHttpResponse
from django.utils.decorators import method_decorator
from django.views import View

from django.urls import path
from ratelimit_kit.django import exempt, health, liveness, ratelimit


def plain(request: Any) -> HttpResponse:
    return HttpResponse("plain")


@ratelimit("1/minute")
def function(request: Any) -> HttpResponse:
    return HttpResponse("function")


@ratelimit("1/minute", name="shared")
def shared_one(request: Any) -> HttpResponse:
    return HttpResponse("one")


@ratelimit("1/minute", name="shared")
def shared_two(request: Any) -> HttpResponse:
    return HttpResponse("two")


@ratelimit("1/minute")
async def coroutine(request: Any) -> HttpResponse:
    return HttpResponse("coroutine")


@method_decorator(ratelimit("1/minute"), name="dispatch")
class ClassView(View):
    def get(self, request: Any) -> HttpResponse:
        return HttpResponse("class")


@method_decorator(ratelimit("1/minute"), name="dispatch")
class OtherView(View):
    def get(self, request: Any) -> HttpResponse:
        return HttpResponse("other")


@method_decorator(ratelimit("1/minute"), name="dispatch")
class AsyncView(View):
    async def get(self, request: Any) -> HttpResponse:
        return HttpResponse("async class")


class MethodView(View):
    @method_decorator(ratelimit("1/minute"))
    def post(self, request: Any) -> HttpResponse:
        return HttpResponse("method")


class AsyncMethodView(View):
    @method_decorator(ratelimit("1/minute"))
    async def get(self, request: Any) -> HttpResponse:
        return HttpResponse("async method")


@ratelimit("1/minute", key="user")
def by_user(request: Any) -> HttpResponse:
    return HttpResponse("user")


calls: list[str] = []


@ratelimit("5/minute")
def failing(request: Any) -> HttpResponse:
    calls.append("failing")
    raise KeyError("mine")


def stream(request: Any) -> StreamingHttpResponse:
    return StreamingHttpResponse(iter([b"a", b"b"]))


def redirect(request: Any) -> HttpResponse:
    return HttpResponse(status=302, headers={"Location": "/"})


@exempt
def exempt_view(request: Any) -> HttpResponse:
    return HttpResponse("exempt")


@exempt
async def exempt_async(request: Any) -> HttpResponse:
    return HttpResponse("exempt")


@method_decorator(exempt, name="dispatch")
class ExemptView(View):
    def get(self, request: Any) -> HttpResponse:
        return HttpResponse("exempt")


@ratelimit("2/minute", count="failures")
def login(request: Any) -> HttpResponse:
    return HttpResponse(status=403 if request.POST["password"] == "wrong" else 200)


@ratelimit("2/minute", count="failures")
async def async_login(request: Any) -> HttpResponse:
    return HttpResponse(status=403 if request.POST["password"] == "wrong" else 200)


@ratelimit("2/minute", name="twice")
def twice(request: Any) -> HttpResponse:
    return HttpResponse("twice")


def exposing(request: Any) -> HttpResponse:
    return HttpResponse(headers={"Access-Control-Expose-Headers": "X-Own"})


urlpatterns = [
    path("exempt", exempt_view),
    path("exempt-async", exempt_async),
    path("exempt-class", ExemptView.as_view()),
    path("login", login),
    path("async-login", async_login),
    path("twice", twice),
    path("exposing", exposing),
    path("plain", plain),
    path("function", function),
    path("again/function", function),
    path("shared/one", shared_one),
    path("shared/two", shared_two),
    path("coroutine", coroutine),
    path("class", ClassView.as_view()),
    path("other", OtherView.as_view()),
    path("async-class", AsyncView.as_view()),
    path("method", MethodView.as_view()),
    path("async-method", AsyncMethodView.as_view()),
    path("user", by_user),
    path("failing", failing),
    path("stream", stream),
    path("redirect", redirect),
    path("healthz", health),
    path("livez", liveness),
]
