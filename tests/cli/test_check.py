"""`ratelimit-kit check`: what a server would refuse, without starting one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ratelimit_kit import Policy
from ratelimit_kit.cli import main
from ratelimit_kit.errors import OptionError

GOOD = """
store = "memory://"
exempt = ["/healthz"]

[[rules]]
limits = ["100/minute", "1000/day"]
key = "ip"

[[rules]]
limits = "5/minute"
paths = ["/login"]
methods = ["POST"]
name = "login"
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "ratelimit.toml"
    path.write_text(GOOD)
    return path


def test_a_policy_is_read_from_a_file(file: Path) -> None:
    policy = Policy.from_file(file)
    assert [named.name for named in policy.rules] == ["rule-1", "login"]
    assert [str(limit) for limit in policy.rules[0].rule.limits] == ["100/minute", "1000/day"]


def test_a_good_file_passes(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(file)]) == 0
    assert (
        capsys.readouterr().out
        == f"{file}: a server would start. The store was not checked (use --live). For Kubernetes and other platforms: --platform NAME.\n"
    )


@pytest.mark.parametrize(
    ("text", "code", "words"),
    [
        (GOOD.replace("/day", "/dya"), "RLK101", "1000/dya"),
        (GOOD.replace("exempt", "exmpt"), "RLK103", "did you mean 'exempt'?"),
        (GOOD.replace("methods", "method"), "RLK103", "did you mean 'methods'?"),
        (GOOD.replace("memory://", "memroy://"), "RLK104", "did you mean 'memory://'?"),
        (GOOD.replace('"1000/day"', '"9000/hour"'), "RLK207", "9000/hour can never refuse"),
        (GOOD + "cost = 6", "RLK102", "cost=6 is above 5"),
        ('store = "memory://"', "RLK103", "a policy without rules"),
        (GOOD.replace("[[rules]]", "[[rules]"), "RLK103", "is not valid TOML"),
        (GOOD.replace('"login"', '"löggin"'), "RLK103", "printable ASCII"),
    ],
)
def test_what_would_not_start_fails_with_its_code(
    text: str, code: str, words: str, file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file.write_text(text)
    assert main(["check", str(file)]) == 1
    out = capsys.readouterr().out
    assert f"error {code}: " in out
    assert words in out
    assert "a server would not start (1 error)" in out


def test_the_number_of_workers_is_checked_for(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(file), "--workers", "4", "--json"]) == 1
    answer = json.loads(capsys.readouterr().out)
    assert answer["file"] == str(file)
    assert [one["code"] for one in answer["findings"]] == ["RLK201"]
    assert main(["check", str(file), "--workers", "1"]) == 0


def test_a_file_that_is_not_there_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "nowhere.toml"]) == 1
    assert "'nowhere.toml' cannot be read: No such file or directory" in capsys.readouterr().out
    with pytest.raises(OptionError):
        Policy.from_file("nowhere.toml")


def test_a_fallback_that_loosens_a_limit_fails_only_if_warnings_do(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file.write_text('fallback = "500/minute"\n' + GOOD)
    assert main(["check", str(file)]) == 0
    assert "warning RLK263: rule 'login': the fallback 500/minute admits more" in capsys.readouterr().out
    assert main(["check", str(file), "--strict"]) == 1
