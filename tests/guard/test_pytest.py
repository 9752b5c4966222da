"""An application that must not start does not end the tests of whoever imports it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

APPLICATIONS = {
    "wsgi": "from ratelimit_kit.wsgi import RateLimitMiddleware\napp = RateLimitMiddleware(print, policy)\n",
    "asgi": "from ratelimit_kit.asgi import RateLimitMiddleware\napp = RateLimitMiddleware(print, policy)\n",
    "flask": "import flask\nfrom ratelimit_kit.flask import RateLimit\nRateLimit(flask.Flask('site'), policy)\n",
}
POLICY = "from ratelimit_kit import Limiter, Policy, Rule\npolicy = Policy(Rule('5/minute'), store={store!r}, workers={workers})\n"

STORES = ["redis://127.0.0.1:1/0", "memcached://127.0.0.1:1"]


def run_pytest(folder: Path, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    (folder / "test_site.py").write_text("import site_\n\ndef test_site():\n    assert site_\n")
    (folder / "test_other.py").write_text("def test_other():\n    pass\n")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:randomly",
        *(options or ["--continue-on-collection-errors", "."]),
    ]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    return subprocess.run(
        command, cwd=folder, env={**inherited, **environment}, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(("integration", "store"), [("wsgi", STORES[0]), ("asgi", STORES[1]), ("flask", STORES[0])])
def test_without_its_store_an_application_fails_the_tests_that_import_it(
    integration: str, store: str, tmp_path: Path
) -> None:
    (tmp_path / "site_.py").write_text(POLICY.format(store=store, workers=None) + APPLICATIONS[integration])
    done = run_pytest(tmp_path)
    assert done.returncode == 1
    assert "1 passed, 1 error" in done.stdout
    assert "For tests, set RATELIMIT_KIT_STORE=memory:// in the environment" in done.stdout
    assert done.stdout.count("SystemExit") == 0
    assert "RLK204" not in done.stderr
    assert run_pytest(tmp_path, RATELIMIT_KIT_STORE="memory://").returncode == 0


def test_every_other_refusal_is_an_ordinary_error_too(tmp_path: Path) -> None:
    (tmp_path / "site_.py").write_text(POLICY.format(store="memory://", workers=2) + "Limiter('5/minute', workers=2)\n")
    done = run_pytest(tmp_path)
    assert done.returncode == 1
    assert "1 passed, 1 error" in done.stdout
    assert "[RLK201]" in done.stdout


def test_a_fixture_or_a_conftest_that_imports_it_fails_as_others_do(tmp_path: Path) -> None:
    (tmp_path / "site_.py").write_text(POLICY.format(store=STORES[0], workers=None) + APPLICATIONS["wsgi"])
    fixture = "import pytest\n\n@pytest.fixture(scope='session', autouse=True)\ndef site():\n    import site_\n"
    (tmp_path / "conftest.py").write_text(fixture)
    done = run_pytest(tmp_path, "test_other.py")
    assert done.returncode == 1
    assert "1 error" in done.stdout
    assert "RATELIMIT_KIT_STORE=memory://" in done.stdout
    (tmp_path / "conftest.py").write_text("import site_\n")
    done = run_pytest(tmp_path, "test_other.py")
    assert done.returncode == 4  # what pytest says of a conftest that cannot be imported
    assert "RATELIMIT_KIT_STORE=memory://" in done.stdout + done.stderr


def test_a_server_that_a_test_starts_is_not_under_pytest(tmp_path: Path) -> None:
    (tmp_path / "site_.py").write_text(POLICY.format(store=STORES[0], workers=None) + APPLICATIONS["wsgi"])
    done = subprocess.run([sys.executable, "site_.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert "RLK204" in done.stderr
    assert "pytest" not in done.stderr
    assert "For tests" not in done.stderr
