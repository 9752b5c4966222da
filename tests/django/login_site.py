"""A program: a project with accounts in a database and the login of examples/django_login.py; prints its responses."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from django.conf import settings
from django.core.management import call_command
from django.test import Client

import django

sys.path.insert(0, str(Path(__file__).parent.parent.parent / "examples"))
TEMPLATES = {"registration/login.html": "{{ form }}"}

settings.configure(
    SECRET_KEY="tests",
    ALLOWED_HOSTS=["*"],
    USE_TZ=True,
    ROOT_URLCONF="django_login",
    LOGIN_REDIRECT_URL="/",
    INSTALLED_APPS=[
        "django.contrib.contenttypes",
        "django.contrib.auth",
        "django.contrib.sessions",
        "ratelimit_kit",
    ],
    MIDDLEWARE=["django.contrib.sessions.middleware.SessionMiddleware"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
    TEMPLATES=[
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "OPTIONS": {"loaders": [("django.template.loaders.locmem.Loader", TEMPLATES)]},
        }
    ],
    RATELIMIT_KIT={"store": "memory://"},
)


def attempt(password: str) -> int:
    status: int = Client().post("/login/", {"username": "ann", "password": password}).status_code
    return status


def main() -> None:
    from django.contrib.auth.models import User

    call_command("migrate", verbosity=0)
    User.objects.create_user("ann", password="right")
    answers = {
        "right": [attempt("right") for _ in range(6)],
        "wrong": [attempt("wrong") for _ in range(6)],
        "right after wrong": attempt("right"),
        "the form": Client().get("/login/").status_code,
    }
    sys.stdout.write(json.dumps(answers))


if __name__ == "__main__":
    django.setup()
    main()
