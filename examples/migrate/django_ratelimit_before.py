"""A Django view with django-ratelimit; the counters are in CACHES["default"]."""

from django.http import HttpResponse
from django_ratelimit.decorators import ratelimit


@ratelimit(key="ip", rate="5/m", method="POST", block=True)
def login(request):
    return HttpResponse("welcome")
