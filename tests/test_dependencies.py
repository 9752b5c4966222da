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


@pytest.mark.parametrize(("client", "name"), [("pymemcache", "MemcachedStore"), ("redis", "RedisStore")])
def test_help_and_a_star_import_leave_out_what_has_no_client_library(client: str, name: str) -> None:
    code = f"""
import pydoc, sys
sys.modules[{client!r}] = None
from ratelimit_kit import *
import ratelimit_kit
print({name!r} in ratelimit_kit.__all__, {name!r} in globals(), "Limiter" in globals())
print("class Limiter" in pydoc.plain(pydoc.render_doc(ratelimit_kit)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["False", "False", "True", "True"], done.stderr
