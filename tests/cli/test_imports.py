"""What a policy file names is imported only by those who say so: importing a module runs it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from ratelimit_kit.cli import main

FILE = """
store = "memory://"

[[rules]]
limits = "5/minute"
name = "login"
{option} = {value}
"""

CODE = """
import pathlib
pathlib.Path(__file__).with_suffix(".ran").touch()

def callable_(request):
    return "text"
"""

PLACES = {
    "key": '"import:named_by_a_file:callable_"',
    "when": '"import:named_by_a_file:callable_"',
    "exempt": '"import:named_by_a_file:callable_"',
    "limits of another rule": '["ip", "import:named_by_a_file:callable_"]',
}

COMMANDS = {
    "check": ["check", "{file}"],
    "check --json": ["check", "{file}", "--json"],
    "doctor": ["doctor", "{file}"],
    "inspect": ["inspect", "ip:192.0.2.1", "--policy", "{file}"],
    "reset": ["reset", "ip:192.0.2.1", "--policy", "{file}"],
    "simulate": ["simulate", "access.log", "--policy", "{file}"],
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "named_by_a_file.py").write_text(CODE)
    (tmp_path / "access.log").write_text('192.0.2.1 - - [01/Jan/2026:00:00:00 +0000] "GET / HTTP/1.1" 200 5\n')
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "named_by_a_file", raising=False)
    monkeypatch.setattr(sys, "path", [one for one in sys.path if one])
    return tmp_path


def policy_file(folder: Path, place: str) -> str:
    option = "key" if " " in place else place
    (folder / "ratelimit.toml").write_text(FILE.format(option=option, value=PLACES[place]))
    return "ratelimit.toml"


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_nothing_that_a_file_names_runs_unless_it_is_allowed(
    command: list[str], place: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [word.format(file=policy_file(folder, place)) for word in command]
    assert main(words) == (1 if command[0] == "doctor" else 2)  # for which the configuration is one of its checks
    said = "".join(capsys.readouterr())
    assert "names code, 'import:named_by_a_file:callable_'" in said
    assert f"If you trust it, type: ratelimit-kit {command[0]} ... --allow-imports [RLK103]" in said
    assert "named_by_a_file" not in sys.modules
    assert not (folder / "named_by_a_file.ran").exists()
    assert str(folder) not in sys.path  # a module of any name could be there


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_what_is_allowed_is_imported_from_this_folder(
    command: list[str], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [word.format(file=policy_file(folder, "key")) for word in command]
    main([*words, "--allow-imports"])
    assert "--allow-imports" not in "".join(capsys.readouterr())
    assert (folder / "named_by_a_file.ran").exists()


def test_a_file_that_names_nothing_needs_no_allowance(folder: Path) -> None:
    (folder / "ratelimit.toml").write_text(FILE.format(option="key", value='"ip"'))
    assert main(["check", "ratelimit.toml"]) == 0
    assert str(folder) not in sys.path


@pytest.mark.parametrize("code", ["import sys\nsys.exit()", "1 / 0", "def callable_(:", "import nothing_of_that_name"])
def test_a_module_that_cannot_be_imported_is_a_finding(
    folder: Path, code: str, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "broken_" + "".join(filter(str.isalnum, code))
    (folder / f"{name}.py").write_text(code)
    (folder / "policy.toml").write_text(FILE.format(option="key", value=f'"import:{name}:callable_"'))
    assert main(["check", "policy.toml", "--allow-imports"]) == 1
    assert "cannot be imported" in "".join(capsys.readouterr())
