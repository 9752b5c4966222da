"""The exit statuses that the reference promises: 1 for a finding, 2 for a usage error, 3 for work that failed."""

from __future__ import annotations

from pathlib import Path

import pytest

from ratelimit_kit.cli import main
from tests.processes import free_port

POLICY = """
store = "redis://127.0.0.1:{port}/0"
[[rules]]
limits = "5/minute"
key = "ip"
name = "site"
"""


@pytest.fixture
def policy(tmp_path: Path) -> str:
    """A valid file, with a store that is not running."""
    file = tmp_path / "ratelimit.toml"
    file.write_text(POLICY.format(port=free_port()))
    return str(file)


@pytest.mark.parametrize(
    ("command", "status"),
    [
        (["check"], 0),
        (["check", "--live"], 1),
        (["doctor"], 1),
        (["inspect", "192.0.2.1", "--policy"], 3),
        (["reset", "192.0.2.1", "--policy"], 3),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else str(value),
)
def test_a_store_that_does_not_answer(
    command: list[str], status: int, policy: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, policy]) == status, capsys.readouterr()


@pytest.mark.parametrize(
    ("command", "status"),
    [
        (["check"], 1),
        (["doctor"], 1),
        (["inspect", "192.0.2.1", "--policy"], 2),
        (["reset", "192.0.2.1", "--policy"], 2),
        (["simulate", "--limit", "5/minute"], 2),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else str(value),
)
def test_a_file_that_is_not_there(command: list[str], status: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command, "nowhere.toml"]) == status, capsys.readouterr()


def test_a_site_that_does_not_answer(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", f"http://127.0.0.1:{free_port()}/", "--limit", "3"]) == 3, capsys.readouterr()
