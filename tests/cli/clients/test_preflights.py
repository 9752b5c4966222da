"""`inspect` and `reset` know the counters of preflights, which exist beside those of their rules."""

from __future__ import annotations

import contextlib
import json
from functools import partial
from pathlib import Path

import pytest

from ratelimit_kit import Policy
from ratelimit_kit.cli import main
from tests.processes import RedisServer
from tests.web.identity.test_address import request

pytestmark = pytest.mark.live

PREFLIGHT = {"origin": "https://example.org", "access-control-request-method": "POST"}


def test_a_client_is_freed_of_refused_preflights_too(
    redis: RedisServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "ratelimit.toml"
    file.write_text(f'store = "{redis.url()}"\n[[rules]]\nlimits = "2/minute"\nkey = "user"\nname = "site"\n')

    def preflights() -> list[int]:
        site = Policy.from_file(file)
        with contextlib.closing(site.store):
            preflight = partial(request, method="OPTIONS", fields=PREFLIGHT, peer="203.0.113.9")
            return [site.check(preflight()).status for _ in range(3)]

    assert preflights() == [0, 0, 429]
    main(["inspect", "203.0.113.9", "--policy", str(file), "--json"])
    shown = capsys.readouterr().out
    assert "site-preflight" in shown
    assert json.loads(shown)
    main(["reset", "203.0.113.9", "--policy", str(file)])
    assert preflights() == [0, 0, 429]
