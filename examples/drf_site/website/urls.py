"""An API: /items has the default throttle, /search also has its own scope, /ping has none."""

from rest_framework.decorators import api_view, throttle_classes
from rest_framework.response import Response
from rest_framework.views import APIView

from django.urls import path
from ratelimit_kit.drf import ScopedRateThrottle, UserRateThrottle


class Items(APIView):
    def get(self, request):
        return Response({"items": []})

    def post(self, request):
        return Response({"item": 1})


class Search(APIView):
    throttle_classes = (UserRateThrottle, ScopedRateThrottle)
    throttle_scope = "search"

    def get(self, request):
        return Response({"found": []})


@api_view(["GET"])
@throttle_classes([])
def ping(request):
    return Response("pong")


urlpatterns = [path("items", Items.as_view()), path("search", Search.as_view()), path("ping", ping)]
