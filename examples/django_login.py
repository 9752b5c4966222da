"""Django's own login, with five wrong passwords a minute from an address; put it into a project's URLs."""

from django.contrib.auth.views import LoginView
from django.utils.decorators import method_decorator

from django.urls import path
from ratelimit_kit.django import ratelimit

# A wrong password is answered with the form and 200, the right one with a redirect.
guesses = ratelimit("5/minute", key="ip", methods=["POST"], count=[200], name="guesses")


@method_decorator(guesses, name="dispatch")
class Login(LoginView):
    pass


urlpatterns = [path("login/", Login.as_view())]
