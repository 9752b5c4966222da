"""Without a client library or a framework the error says what to install, and the rest works."""

from __future__ import annotations

import subprocess
import sys

import pytest

CODE = """
import sys
sys.modules[{missing!r}] = None
import ratelimit_kit
assert ratelimit_kit.Limiter("5/minute").hit("key")
try:
    {statement}
except ratelimit_kit.ConfigurationError as error:
    assert isinstance(error, (ImportError, AttributeError)), error
    print(error)
"""


@pytest.mark.parametrize(
    ("missing", "statement", "install"),
    [
        ("redis", "ratelimit_kit.Limiter('5/minute', store='redis://localhost')", "ratelimit-kit[redis]"),
        ("redis", "ratelimit_kit.RedisStore('redis://localhost')", "ratelimit-kit[redis]"),
        ("django", "import ratelimit_kit.django", "ratelimit-kit[django]"),
        ("django.conf", "ratelimit_kit.Limiter('5/minute', store='django-cache://default')", "ratelimit-kit[django]"),
    ],
)
def test_what_is_missing_is_named(missing: str, statement: str, install: str) -> None:
    code = CODE.format(missing=missing, statement=statement)
    output = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert f"pip install '{install}' [RLK105]" in output
