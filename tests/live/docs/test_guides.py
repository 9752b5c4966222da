"""What the pages promise besides their snippets: commands parse, policies are valid, tests exist, rights suffice."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import pytest
import redis as redis_py

from ratelimit_kit import FixedWindow, Limiter, Policy, RedisStore, SlidingWindow, TokenBucket
from ratelimit_kit.cli import EPILOG as WHOLE
from ratelimit_kit.cli import main, parser
from ratelimit_kit.cli.check import EPILOG as CHECK
from ratelimit_kit.cli.clients.inspect import EPILOG as INSPECT
from ratelimit_kit.cli.clients.reset import EPILOG as RESET
from ratelimit_kit.cli.doctor import EPILOG as DOCTOR
from ratelimit_kit.cli.simulate import EPILOG as SIMULATE
from ratelimit_kit.cli.verify import EPILOG as VERIFY
from tests.processes import RedisServer

pytestmark = pytest.mark.live

ROOT = Path(__file__).parent.parent.parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
COMMAND = re.compile(r"(?:^\$ |^  |\| |`|ratelimit\.toml; )((?:[A-Z_]+=\S+ )*ratelimit-kit [a-z][^`\n]*)", re.MULTILINE)
TOML = re.compile(r"^```toml\n(.*?)^```", re.MULTILINE | re.DOTALL)


def commands() -> list[object]:
    texts = {page.relative_to(ROOT).as_posix(): page.read_text() for page in PAGES}
    texts |= {
        "": WHOLE,
        "check": CHECK,
        "doctor": DOCTOR,
        "inspect": INSPECT,
        "reset": RESET,
        "simulate": SIMULATE,
        "verify": VERIFY,
    }
    return [
        pytest.param(match[1].strip(), id=f"{where}: {match[1].strip()}"[:90])
        for where, text in texts.items()
        for match in COMMAND.finditer(text)
        if "COMMAND" not in match[1] and "..." not in match[1].replace('": ..."', "")
    ]


@pytest.mark.parametrize("command", commands())
def test_every_command_on_a_page_is_understood(command: str) -> None:
    words = shlex.split(re.split(r"  +|; ", command)[0], comments=True)
    while "=" in words[0]:
        words = words[1:]
    assert words[0] == "ratelimit-kit"
    example = [{"N": "4", "URL": "http://127.0.0.1/"}.get(word, word) for word in words[1:]]
    if len(example) > 1:  # else the command is only mentioned
        parser().parse_args(example)


def test_the_reference_has_every_option() -> None:
    page = (ROOT / "docs" / "reference" / "cli.md").read_text()
    subcommands = next(one for one in parser()._actions if one.dest == "command").choices
    for name, command in subcommands.items():
        assert f"{name} " in page
        for action in command._actions:
            for option in action.option_strings:
                assert option in {"-h", "--help"} or option in page, (name, option)


@pytest.mark.parametrize("page", [page for page in PAGES if "```toml" in page.read_text()], ids=lambda page: page.name)
def test_every_policy_file_on_a_page_would_start(page: Path) -> None:
    for text in TOML.findall(page.read_text()):
        policy = Policy.from_config(tomllib.loads(text))
        assert list(policy.findings(live=False)) == []
        policy.store.close()


def test_the_policy_of_the_guide_is_that_of_the_examples() -> None:
    page = (ROOT / "docs" / "how-to" / "deploy.md").read_text()
    written = tomllib.loads(TOML.findall(page)[0])
    example = tomllib.loads((ROOT / "examples" / "deploy" / "ratelimit.toml").read_text())
    assert example["rules"] == written["rules"]


def test_every_threat_names_a_test_that_exists() -> None:
    page = (ROOT / "docs" / "explanation" / "security.md").read_text()
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", page)
    rows = [line for line in page.splitlines() if line.startswith("| ") and not line.startswith(("| threat", "|---"))]
    assert len(named) >= len(rows) > 20
    for file, name in named:
        assert f"def {name}(" in (ROOT / file).read_text(), (file, name)


def test_the_rights_on_the_security_page_are_enough(redis: RedisServer, capsys: pytest.CaptureFixture[str]) -> None:
    page = (ROOT / "docs" / "explanation" / "security.md").read_text()
    line = re.search(r"^ACL SETUSER limits on .*$", page, re.MULTILINE)
    assert line
    with redis_py.Redis(port=redis.port) as admin:
        admin.execute_command(*line[0].replace("PASSWORD", "pw").split())
        url = f"redis://limits:pw@127.0.0.1:{redis.port}/0"
        try:
            for limit in (SlidingWindow(2, 60), TokenBucket(2, 60), FixedWindow(2, "day")):
                limiter = Limiter(limit, store=url, name="rights")
                limiter.reset("k")
                assert [bool(limiter.hit("k")) for _ in range(3)] == [True, True, False]
                limiter.refund("k")
                assert limiter.peek("k").remaining == 1
                limiter.reset("k")
                limiter.close()
            several = Limiter("2/minute", "5/hour", store=url, name="rights")
            assert [bool(several.hit("k")) for _ in range(3)] == [True, True, False]
            several.reset("k")
            several.close()
            counting = RedisStore(url)
            assert counting.census("web", "a:x:1", 5) == ["a:x:1"]
            assert counting.census("web", "a:x:1", 0) == []
            counting.close()
            assert main(["doctor", url, "--strict"]) == 0, capsys.readouterr().out
            with redis_py.Redis.from_url(url) as client:
                for forbidden in (("FLUSHALL",), ("CONFIG", "GET", "*"), ("GET", "somebody"), ("KEYS", "*")):
                    with pytest.raises(redis_py.exceptions.NoPermissionError):
                        client.execute_command(*forbidden)
        finally:
            admin.execute_command("ACL", "DELUSER", "limits")
