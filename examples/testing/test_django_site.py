"""Tests of a Django site and its limits, with Django's own test client.

RATELIMIT_KIT_STORE=memory:// python -m pytest test_django_site.py
"""

import asyncio
import os
import sys
from pathlib import Path

import pytest
from django.test import AsyncClient, Client, RequestFactory
from django.test.utils import override_settings

import django
from ratelimit_kit.testing import reset_all

sys.path.insert(0, str(Path(__file__).parent.parent / "django_site"))
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "website.settings")
django.setup()

from website.urls import login  # noqa: E402 - Django has to be set up first


@pytest.fixture(autouse=True)
def full_quotas():
    """What a TestCase does in setUp."""
    reset_all()


def test_the_eleventh_message_is_refused():
    client = Client()
    answers = [client.post("/contact").status_code for _ in range(11)]
    assert answers == [200] * 10 + [429]


def test_the_asynchronous_client_meets_the_same_limit():
    async def visit():
        client = AsyncClient()
        return [(await client.post("/contact")).status_code for _ in range(11)]

    assert asyncio.run(visit()) == [200] * 10 + [429]


def test_a_view_by_itself():
    """A decorated view limits without routing and middleware too."""
    requests = RequestFactory()
    answers = [login(requests.post("/login")).status_code for _ in range(11)]
    assert answers == [200] * 10 + [429]


def test_other_rules_for_one_test():
    rules = [{"limits": "1/minute", "key": "ip", "name": "strict"}]
    with override_settings(RATELIMIT_KIT={"store": "memory://", "rules": rules}):
        assert [Client().get("/contact").status_code for _ in range(2)] == [200, 429]


def test_what_has_nothing_to_do_with_limits(ratelimits_disabled):
    client = Client()
    assert all(client.post("/contact").status_code == 200 for _ in range(50))
