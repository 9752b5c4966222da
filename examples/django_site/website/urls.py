"""Two limits: /contact by the middleware's rule in the settings, /login by the decorator below."""

from django.http import HttpResponse
from django.views.decorators.csrf import csrf_exempt

from django.urls import path
from ratelimit_kit.django import ratelimit


@csrf_exempt
def contact(request):
    return HttpResponse("Thank you.\n", content_type="text/plain")


@csrf_exempt
@ratelimit("10/minute", key="ip", methods=["POST"], name="login")
def login(request):
    return HttpResponse("Welcome.\n", content_type="text/plain")


urlpatterns = [path("contact", contact), path("login", login)]
