"""The command line as a whole: useful help, consistent exit statuses, and output that is safe to print."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ratelimit_kit.cli import main, parser
from ratelimit_kit.cli.terminal import complain, progress, shown
from tests.processes import python_program

COMMANDS = ["check", "doctor", "verify", "inspect", "reset", "simulate", "demo"]


@pytest.mark.parametrize("command", [one for one in COMMANDS if one != "demo"])
def test_the_help_of_each_command_shows_examples_and_statuses(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    out = capsys.readouterr().out
    assert f"  ratelimit-kit {command} " in out
    assert "exit status:\n  0  all is well, or done\n" in out
    assert "--json" in out


def test_every_command_is_in_the_help() -> None:
    text = parser().format_help()
    assert all(f"    {command} " in text for command in COMMANDS)


@pytest.mark.parametrize("program", [[python_program("ratelimit-kit")], [sys.executable, "-m", "ratelimit_kit"]])
def test_it_runs_as_a_program_and_as_a_module(program: list[str]) -> None:
    ended = subprocess.run(
        [*program, "doctor", "memory://", "--workers", "1"], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert "0 failed" in ended.stdout


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["doctor"], 2, "name one thing to look at"),
        (["inspect", "203.0.113.7"], 2, "name one thing to look at"),
        (["inspect", "--store", "memory://", "--limit", "5/minute"], 2, "name one client"),
        (["inspect", "k", "--store", "memory://", "--limit", "5/minute"], 2, "counts inside each process"),
        (["inspect", "k", "--store", "redis://127.0.0.1:1/0"], 2, "--store needs --limit too"),
        (["inspect", "k", "--store", "redis://127.0.0.1:1/0", "--limit", "5/mnth"], 2, "not a unit of time"),
        (["inspect", "k", "--store", "redis://127.0.0.1:1/0", "--limit", "5/minute"], 3, "does not answer"),
        (["reset", "k", "--store", "redis://127.0.0.1:1/0", "--limit", "5/minute"], 3, "does not answer"),
        (["simulate", "nowhere.log", "--limit", "5/minute"], 2, "cannot be read: No such file"),
        (["simulate", "nowhere.log"], 2, "say what to try"),
        (["verify", "ftp://127.0.0.1/", "--limit", "5"], 2, "the URL is not that of a site"),
        (["verify", "http://127.0.0.1:1/", "--limit", "5"], 3, "did not respond"),
    ],
)
def test_statuses_say_whose_fault_it_is(
    arguments: list[str], status: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == status
    said = capsys.readouterr()
    assert words in said.err
    assert not said.out


@pytest.mark.parametrize("arguments", [[], ["chekc"], ["verify", "http://127.0.0.1/"], ["verify", "u", "--limit", "0"]])
def test_what_argparse_cannot_read_ends_with_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2


@pytest.mark.parametrize(
    ("arguments"),
    [
        ["doctor", "redis://user:hunter2@127.0.0.1:1/0"],
        ["doctor", "--store", "redis://user:hunter2@127.0.0.1:1/0"],
        ["inspect", "k", "--store", "redis://:hunter2@127.0.0.1:1/0", "--limit", "5/minute"],
        ["verify", "http://user:hunter2@127.0.0.1:1/", "--limit", "5"],
        ["verify", "http://127.0.0.1:1/", "--limit", "5", "--header", "X-Key hunter2"],
        ["verify", "http://127.0.0.1:1/", "--limit", "5", "--header", "X-Key: hunter2"],
        ["verify", "http://127.0.0.1:1/?token=hunter2", "--limit", "5"],
    ],
)
def test_a_secret_is_never_printed(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) in {1, 2, 3}
    said = capsys.readouterr()
    assert "hunter2" not in said.out + said.err


def test_control_characters_are_shown_and_never_sent() -> None:
    assert shown("plain é text") == "plain é text"
    assert shown("\x1b]0;owned\x07\r\n\x9b31m\u202e\udc80") == r"\x1b]0;owned\x07\r\n\x9b31m\u202e\udc80"


def test_complaints_are_safe_too(capsys: pytest.CaptureFixture[str]) -> None:
    complain("first \x1b[2J\nsecond")
    assert capsys.readouterr().err == "ratelimit-kit: first \\x1b[2J\nsecond\n"


def test_nothing_is_drawn_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("working", 10) as advance:
        advance(10)
    assert capsys.readouterr() == ("", "")


def test_progress_without_rich_is_plain_lines(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    for name in ("rich.console", "rich.markup", "rich.progress"):
        monkeypatch.setitem(sys.modules, name, None)
    with progress("reading \x1b", 100) as advance:
        for _ in range(4):
            advance(5)
    assert capsys.readouterr().err == "reading \\x1b ...\nreading \\x1b: 10 %\nreading \\x1b: 20 %\n"


def test_progress_with_rich_is_a_bar(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    with progress("reading [red]", 100) as advance:
        advance(50)
    said = capsys.readouterr()
    assert "reading [red]" in said.err
    assert not said.out


def test_a_reader_that_has_seen_enough_is_no_error(tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    log.write_text("".join(f"no log line {number}\n" for number in range(10)))
    command = f"{sys.executable} -m ratelimit_kit simulate {log} --limit 5/minute --json | true"
    ended = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, check=False)
    assert "Traceback" not in ended.stderr
