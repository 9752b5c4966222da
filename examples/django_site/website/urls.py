"""Limits by the middleware's rule in the settings (/contact), by decorators, and by neither (an exempt view)."""

from django.http import HttpResponse
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.csrf import csrf_exempt

from django.urls import path
from ratelimit_kit.django import exempt, health, ratelimit


@csrf_exempt
def contact(request):
    return HttpResponse("Thank you.\n", content_type="text/plain")


@csrf_exempt
@ratelimit("10/minute", key="ip", methods=["POST"], name="login")
def login(request):
    return HttpResponse("Welcome.\n", content_type="text/plain")


@csrf_exempt
@ratelimit("10/minute", key="ip", name="search")
async def search(request):
    return HttpResponse("Nothing found.\n", content_type="text/plain")


@csrf_exempt
@ratelimit("10/minute", key="ip", count="failures", name="failed-codes")
def code(request):
    """Ten wrong codes a minute; right ones do not count."""
    right = request.headers.get("X-Code") == "open sesame"
    return HttpResponse("Welcome.\n" if right else "Wrong code.\n", status=200 if right else 403)


@csrf_exempt
@exempt
def hook(request):
    """A webhook under the paths of the site's rule that is exempt from it."""
    return HttpResponse("Thank you.\n", content_type="text/plain")


@method_decorator([csrf_exempt, ratelimit("10/minute", key="path:number", name="item")], name="dispatch")
class Item(View):
    """A limit for each item, for all clients together."""

    async def post(self, request, number):
        return HttpResponse(f"Item {number}.\n", content_type="text/plain")


urlpatterns = [
    path("contact", contact),
    path("login", login),
    path("search", search),
    path("code", code),
    path("hooks/payment", hook),
    path("items/<int:number>", Item.as_view()),
    path("healthz", health),
]
