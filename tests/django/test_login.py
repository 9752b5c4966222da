"""Django's own LoginView under the decorator: a response with status 200 means a wrong password."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def test_wrong_passwords_count_and_right_ones_do_not() -> None:
    """In a process of its own, because accounts need a database, and settings can be configured only once."""
    command = [sys.executable, "-m", "tests.django.login_site"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "right": [302] * 6,
        "wrong": [200] * 5 + [429],
        "right after wrong": 429,
        "the form": 200,
    }
