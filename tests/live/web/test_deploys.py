"""A Django site deployed with changed numbers in its settings, while the version before it still serves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.processes import Process, RedisServer, free_port, python_program, request, running

pytestmark = pytest.mark.live

SITE = """\
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.urls import path

settings.configure(
    ALLOWED_HOSTS=["127.0.0.1"],
    MIDDLEWARE=["ratelimit_kit.django.RateLimitMiddleware"],
    RATELIMIT_KIT={{"store": {store!r}, "rules": [{{"limits": {limits!r}, "key": "ip", "name": "site"{more}}}]}},
    ROOT_URLCONF=__name__,
    SECRET_KEY="deploys",
)
urlpatterns = [path("", lambda request: HttpResponse("passed"))]
application = get_wsgi_application()
"""


@contextmanager
def deployed(folder: Path, store: str, limits: str, more: str = "") -> Iterator[Process]:
    """Two gunicorn workers with these settings."""
    folder.mkdir(exist_ok=True)
    (folder / "site_of_settings.py").write_text(SITE.format(store=store, limits=limits, more=more))
    port = free_port()
    command = [python_program("gunicorn"), "site_of_settings:application", "--workers", "2", "--log-level", "warning"]
    with running([*command, "--bind", f"127.0.0.1:{port}"], port, cwd=folder) as process:
        yield process


def passed(process: Process, times: int) -> int:
    statuses = Counter(request(process.port, "/").status for _ in range(times))
    assert set(statuses) <= {200, 429}, process.text()
    return statuses[200]


def test_a_deploy_with_a_changed_number_gives_nobody_a_second_quota(redis: RedisServer, tmp_path: Path) -> None:
    store = redis.patient_url()
    with deployed(tmp_path / "old", store, "10/hour") as old:
        assert passed(old, 6) == 6
        with deployed(tmp_path / "new", store, "8/hour") as new:
            assert passed(new, 5) == 2
            assert passed(old, 5) == 2
            assert passed(new, 2) == 0
    with deployed(tmp_path / "next", store, "13/hour") as raised:
        assert passed(raised, 10) == 3


def test_a_rule_that_inherits_nothing_counts_from_zero_after_a_deploy(redis: RedisServer, tmp_path: Path) -> None:
    store, alone = redis.patient_url(), ', "inherit": False'
    with deployed(tmp_path / "old", store, "10/hour", alone) as old:
        assert passed(old, 12) == 10
    with deployed(tmp_path / "new", store, "5/hour", alone) as new:
        assert passed(new, 12) == 5
    with deployed(tmp_path / "rolled back", store, "10/hour", alone) as old:
        assert passed(old, 2) == 0
