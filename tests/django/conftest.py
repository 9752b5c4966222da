from __future__ import annotations

import pytest
from django.conf import settings

import django
from ratelimit_kit import MemoryStore

if not settings.configured:
    settings.configure(
        SECRET_KEY="tests",
        ALLOWED_HOSTS=["*"],
        ROOT_URLCONF="tests.django.urls",
        INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "ratelimit_kit"],
        MIDDLEWARE=["ratelimit_kit.django.RateLimitMiddleware"],
        USE_TZ=True,
    )
    django.setup()


@pytest.fixture(autouse=True)
def limits() -> object:
    from django.test import override_settings

    rules = [{"limits": "2/minute", "paths": ["/plain"], "name": "plain"}, {"limits": "100/minute", "name": "site"}]
    rules.append({"limits": "2/minute", "paths": ["/twice"], "name": "twice"})
    with override_settings(RATELIMIT_KIT={"store": MemoryStore(), "rules": rules}):
        yield
