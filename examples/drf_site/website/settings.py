"""The settings of an API whose throttles count exactly, over all workers."""

import os

SECRET_KEY = os.environ.get("DJANGO_SECRET_KEY", "only for this example")
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "website.urls"
USE_TZ = True

INSTALLED_APPS = ["django.contrib.auth", "django.contrib.contenttypes", "rest_framework", "ratelimit_kit"]

RATELIMIT_KIT = {"store": os.environ.get("STORE_URL", "redis://127.0.0.1:6379/0")}

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_THROTTLE_CLASSES": ["ratelimit_kit.drf.UserRateThrottle"],
    "DEFAULT_THROTTLE_RATES": {"user": "10/minute", "search": "5/minute"},
}
