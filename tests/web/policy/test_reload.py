"""Policies from files: what a file may contain, and what happens when it changes while the server runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ratelimit_kit import MemoryStore, Policy
from ratelimit_kit.errors import OptionError
from ratelimit_kit.web.http.messages import Request
from ratelimit_kit.web.policy import reload as source
from tests.web.identity.test_address import request

RULE = '[[rules]]\nlimits = "{limit}"\nname = "r"\n'


def tenant(one: Request) -> str:
    return one.headers["x-tenant"]


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(source, "RECHECK_SECONDS", 0.0)
    path = tmp_path / "ratelimit.toml"
    path.write_text(RULE.format(limit="1/minute"))
    return path


def replace(file: Path, text: str) -> None:
    """Replace the old file by a new one in one step, as a deployment does."""
    new = file.with_suffix(".new")
    new.write_text(text)
    new.replace(file)


def passes(policy: Policy) -> bool:
    return not policy.check(request()).denied


def test_a_changed_file_is_applied_and_counters_stay(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    policy = Policy.from_file(file)
    assert [passes(policy), passes(policy)] == [True, False]
    replace(file, 'mode = "shadow"\n' + RULE.format(limit="1/minute"))
    assert passes(policy)
    assert policy.mode == "shadow"
    assert "mode shadow, 1 rules in force" in caplog.text
    replace(file, RULE.format(limit="1/minute"))
    assert not passes(policy)
    replace(file, RULE.format(limit="5/minute"))
    assert passes(policy)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("rules = [", "is not valid TOML"),
        (
            RULE.format(limit="5/mnth"),
            "rule 1 ('r'): cannot read the limit '5/mnth' at position 2: 'mnth' is not a unit",
        ),
        ('mod = "off"\n' + RULE.format(limit="5/minute"), "did you mean 'mode'"),
        ("", "limits nothing"),
        (RULE.format(limit="5/minute; 100/minute"), "can never refuse anything"),
        ('store = "redis://127.0.0.1:1"\n' + RULE.format(limit="5/minute"), "'store' cannot change"),
        ('name = "other"\n' + RULE.format(limit="5/minute"), "'name' cannot change"),
        (RULE.format(limit="5/minute") + "messages = true\n", "need a restart"),
        (None, "cannot be read"),
    ],
    ids=["syntax", "limit", "option", "empty", "unreachable", "store", "name", "messages", "gone"],
)
def test_a_file_that_cannot_be_applied_changes_nothing_and_is_told_of_once(
    file: Path, text: str | None, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    policy = Policy.from_file(file)
    if text is None:
        file.unlink()
    else:
        replace(file, text)
    assert [passes(policy), passes(policy), passes(policy)] == [True, False, False]
    assert len(caplog.messages) == 1
    assert reason in caplog.text
    assert "\n" not in caplog.messages[0]
    assert caplog.messages[0].count("[RLK") == 1
    assert "The current rules stay in force [RLK303]" in caplog.text
    caplog.clear()
    replace(file, RULE.format(limit="5/minute"))
    assert passes(policy)


def test_the_file_is_looked_at_at_most_once_a_second(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "RECHECK_SECONDS", 1.0)
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    policy = Policy.from_file(file)
    replace(file, 'mode = "off"\n' + RULE.format(limit="1/minute"))
    now += 0.99
    assert policy.mode == "enforce"
    now += 0.02
    assert policy.mode == "off"


def test_a_change_while_the_policy_is_built_is_not_missed(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that starts slowly has read the old file when the new one arrives."""
    build = Policy.from_config.__func__  # type: ignore[attr-defined]  # a class method has one

    def slowly(cls: type[Policy], config: Any) -> Policy:
        replace(file, 'mode = "off"\n' + RULE.format(limit="1/minute"))
        return build(cls, config)

    monkeypatch.setattr(Policy, "from_config", classmethod(slowly))
    assert Policy.from_file(file).mode == "off"


def test_reloading_can_be_declined(file: Path) -> None:
    policy = Policy.from_file(file, reload=False)
    replace(file, 'mode = "off"\n' + RULE.format(limit="1/minute"))
    assert policy.mode == "enforce"


def test_the_environment_has_the_last_word_on_mode_and_store(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RATELIMIT_KIT_MODE", "off")
    monkeypatch.setenv("RATELIMIT_KIT_STORE", "memory://")
    replace(file, 'mode = "enforce"\nstore = "redis://127.0.0.1:1"\n' + RULE.format(limit="1/minute"))
    policy = Policy.from_file(file)
    assert isinstance(policy.store, MemoryStore)
    assert [passes(policy), passes(policy)] == [True, True]
    replace(file, 'mode = "shadow"\nstore = "redis://127.0.0.1:1"\n' + RULE.format(limit="1/minute"))
    assert policy.mode == "off"


def test_a_misspelt_variable_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RATELIMIT_KIT_STOR", "memory://")
    with pytest.raises(OptionError, match=r"RATELIMIT_KIT_STOR is not known, .*; did you mean 'RATELIMIT_KIT_STORE'"):
        Policy()


def test_plain_data_names_callables_and_expressions() -> None:
    policy = Policy.from_config(
        {
            "rules": [
                {"limits": "1/minute", "key": ["import:tests.web.policy.test_reload:tenant"], "paths": ["re:^/a/\\d+$"]}
            ],
            "exempt": ["re:^/static/"],
        }
    )

    def ask(path: str, who: str) -> bool:
        return not policy.check(request(path=path, fields={"x-tenant": who})).denied

    assert [ask("/a/1", "x"), ask("/a/2", "x"), ask("/a/2", "y"), ask("/a/b", "x")] == [True, False, True, True]


@pytest.mark.parametrize(
    ("option", "value", "hint"),
    [
        ("key", "import:tests.web.policy.test_reload", "write 'import:package.module:name'"),
        ("when", "import:tests.web.nowhere:tenant", "cannot be imported: No module named"),
        ("cost", "import:tests.web.policy.test_reload:nothing", "cannot be imported"),
        ("paths", ["re:("], "not a regular expression"),
    ],
)
def test_names_that_lead_nowhere_are_errors(option: str, value: Any, hint: str) -> None:
    with pytest.raises(OptionError, match=hint):
        Policy.from_config({"rules": [{"limits": "1/minute", option: value}]})
