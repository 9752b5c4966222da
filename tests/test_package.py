"""What users install: the wheel and the sdist, built here and tested without the source tree."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

import ratelimit_kit

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
VERSION = ratelimit_kit.__version__

TRIAL = """
import sys
from pathlib import Path
from importlib.metadata import version
from importlib.resources import files
import ratelimit_kit
from ratelimit_kit import Limiter, Policy, Rule
from ratelimit_kit.wsgi import RateLimitMiddleware

package = Path(ratelimit_kit.__file__).parent
assert "site-packages" in package.parts, package
assert version("ratelimit-kit") == ratelimit_kit.__version__
limiter = Limiter("2/minute")
assert [bool(limiter.hit("key")) for _ in range(3)] == [True, True, False]
RateLimitMiddleware(lambda environ, start: [], Policy(Rule("1/minute")))
loaded = {name.partition(".")[0] for name in sys.modules}
assert not loaded & {"redis", "pymemcache", "django", "flask", "starlette"}, loaded
for extra in ("redis", "django", "flask", "fastapi", "drf"):
    try:
        __import__({"redis": "ratelimit_kit.stores.redis.store"}.get(extra, f"ratelimit_kit.{extra}"))
    except ratelimit_kit.ConfigurationError as error:
        assert f"pip install 'ratelimit-kit[{extra}]'" in str(error), error
    else:
        raise AssertionError(f"{extra} is installed")
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the sdist."""
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run([sys.executable, "-m", "build", "-q", "--outdir", str(folder), str(ROOT)], check=True)
    return folder


def test_the_wheel_holds_the_package_and_all_its_data(built: Path) -> None:
    (wheel,) = built.glob("*.whl")
    assert wheel.name == f"ratelimit_kit-{VERSION}-py3-none-any.whl"
    inside = set(zipfile.ZipFile(wheel).namelist())
    source = ROOT / "src"
    tracked = subprocess.check_output(["git", "ls-files", "src"], cwd=ROOT, text=True).split()
    assert {Path(name).relative_to("src").as_posix() for name in tracked} <= inside, source
    assert any(name.endswith("licenses/LICENSE") for name in inside)
    metadata = zipfile.ZipFile(wheel).read(f"ratelimit_kit-{VERSION}.dist-info/METADATA").decode()
    required = [line for line in metadata.splitlines() if line.startswith("Requires-Dist") and "extra ==" not in line]
    assert required == ["Requires-Dist: wrapt>=1.16"]
    addresses = set(re.findall(r"^Project-URL: (\w+),", metadata, re.MULTILINE))
    assert addresses == {"Homepage", "Documentation", "Source", "Changelog", "Issues"}


def test_the_sdist_holds_what_is_needed_to_test_it(built: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    pages = {"LICENSE", "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"}
    read_by_tests = {".github/workflows/ci.yml", ".pre-commit-config.yaml", "Makefile", "pyproject.toml"}
    assert pages | read_by_tests | {"tests/test_package.py"} <= inside


def test_the_wheel_works_without_the_source_tree_and_without_extras(built: Path, tmp_path: Path) -> None:
    (wheel,) = built.glob("*.whl")
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", str(wheel)], check=True, cwd=tmp_path)
    subprocess.run([python, "-I", "-c", TRIAL], check=True, cwd=tmp_path)
    shown = subprocess.check_output([python.with_name("ratelimit-kit"), "--version"], text=True, cwd=tmp_path)
    assert shown == f"ratelimit-kit {VERSION}\n"
