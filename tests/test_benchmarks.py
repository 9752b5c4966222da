"""Every benchmark scenario runs, with the other libraries; speed is not tested here."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PEERS = os.environ.get("PEERS", "benchmarks/.venv")
PYTHON = ROOT / PEERS / "bin" / "python"


@pytest.mark.live
@pytest.mark.slow
def test_every_scenario_runs(tmp_path: Path) -> None:
    if not PYTHON.exists():
        message = f"the peers' environment is missing: run `make {PEERS}/installed`"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    done = subprocess.run(
        [str(PYTHON), "-m", "benchmarks", "--smoke", "--write", str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    titles = re.findall(r"^### (.*)", done.stdout, re.MULTILINE)
    written = "".join(path.read_text() for path in (ROOT / "benchmarks" / "scenarios").glob("*.py"))
    assert sorted(titles) == sorted(re.findall(r'^@scenario\(\s*"([^"]+)"', written, re.MULTILINE))
    assert done.stdout.count("| floor: ") == len(titles)
    assert (tmp_path / "results.md").read_text().startswith("Measured with Python")
    assert (tmp_path / "results.svg").read_text().startswith("<svg")
