"""The same view with ratelimit-kit; the counters are where the setting RATELIMIT_KIT says."""

from django.http import HttpResponse

from ratelimit_kit.django import ratelimit


@ratelimit("5/minute", key="ip", methods=["POST"], name="login")
def login(request):
    return HttpResponse("welcome")
