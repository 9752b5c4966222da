"""Tests of a FastAPI application and its limits, with counters in memory and a manual clock.

RATELIMIT_KIT_STORE=memory:// python -m pytest test_fastapi_app.py
"""

import sys
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from ratelimit_kit.testing import disabled

sys.path.insert(0, str(Path(__file__).parent.parent))

from fastapi_app import app


@pytest.fixture
def client(ratelimits_reset):
    """Every test begins with a full quota."""
    with TestClient(app) as client:
        yield client


def test_the_eleventh_search_is_refused(client):
    answers = [client.post("/search").status_code for _ in range(11)]
    assert answers == [200] * 10 + [429]


def test_a_minute_later_it_is_admitted(client, ratelimits_clock):
    refused = [client.post("/search") for _ in range(11)][-1]
    assert refused.headers["Retry-After"] == "60"
    ratelimits_clock.advance(59)
    assert client.post("/search").status_code == 429
    ratelimits_clock.advance(1)
    assert client.post("/search").status_code == 200


def test_what_has_nothing_to_do_with_limits(client, ratelimits_disabled):
    assert all(client.post("/search").status_code == 200 for _ in range(50))


@disabled()
def test_the_same_without_a_fixture():
    with TestClient(app) as client:
        assert all(client.post("/search").status_code == 200 for _ in range(50))
