"""Settings that tests override, each with a policy of its own, leave nothing behind."""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import Any, ClassVar

from django.contrib.auth.models import AnonymousUser
from django.test import AsyncClient, Client, override_settings
from rest_framework.response import Response
from rest_framework.test import APIRequestFactory, force_authenticate
from rest_framework.views import APIView

from ratelimit_kit import MemoryStore
from ratelimit_kit.django.site import site_policy
from ratelimit_kit.drf import RateLimitThrottle


class Throttle(RateLimitThrottle):
    limits = "9/minute"
    key = "ip"


class Page(APIView):
    throttle_classes: ClassVar[list[Any]] = [Throttle]

    def get(self, request: Any) -> Response:
        return Response({})


async def ask_async() -> int:
    return int((await AsyncClient().get("/coroutine")).status_code)


def test_policies_of_overridden_settings_go_away() -> None:
    policies = []
    for _ in range(30):
        with override_settings(RATELIMIT_KIT={"store": MemoryStore(), "rules": [{"limits": "9/minute"}]}):
            policies.append(weakref.ref(site_policy()))
            assert [Client().get(path).status_code for path in ("/plain", "/function", "/class")] == [200, 200, 200]
            assert asyncio.run(ask_async()) == 200
            request = APIRequestFactory().get("/")
            force_authenticate(request, user=AnonymousUser())
            assert Page.as_view()(request).status_code == 200
    del request
    gc.collect()
    assert [one for one in policies if one() is not None] == []
