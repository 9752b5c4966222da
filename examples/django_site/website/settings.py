"""The smallest settings that serve a rate-limited site."""

import os

SECRET_KEY = os.environ.get("DJANGO_SECRET_KEY", "only for this example")
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "website.urls"
USE_TZ = True

INSTALLED_APPS = ["ratelimit_kit"]

MIDDLEWARE = ["ratelimit_kit.django.RateLimitMiddleware"]

RATELIMIT_KIT = {
    "store": os.environ.get("STORE_URL", "redis://127.0.0.1:6379/0"),
    "exempt": ["/healthz"],
    "rules": [
        {"limits": "10/minute", "key": "ip", "paths": ["/contact", "/hooks/*"], "methods": ["POST"], "name": "contact"},
    ],
}
